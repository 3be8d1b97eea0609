//! Parquet: one row group for each page, amounts as DECIMAL(18, 6), times as TIMESTAMP in milliseconds of UTC.

use std::mem;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::Value;

use super::{columns, time};
use crate::error::Error;
use crate::query::Cdr;
use crate::table::Holds;

/// 18 digits are what an integer of 64 bits holds.
const DIGITS: i32 = 18;

/// A Parquet file of which the bytes are taken as they come.
#[derive(Debug)]
pub struct ParquetFile(SerializedFileWriter<Vec<u8>>);

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Export(error.to_string())
    }
}

impl ParquetFile {
    pub(super) fn begin() -> Result<Self, Error> {
        let fields = columns().map(|(name, _, holds)| Ok(Arc::new(field(name, holds)?)));
        let fields = fields.collect::<Result<Vec<_>, Error>>()?;
        let schema = Type::group_type_builder("cdr").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("callbus ", env!("CARGO_PKG_VERSION")).to_owned());
        Ok(Self(SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))?))
    }

    pub(super) fn rows(&mut self, rows: &[Cdr]) -> Result<Vec<u8>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut group = self.0.next_row_group()?;
        for (_, column, holds) in columns() {
            let Some(mut writer) = group.next_column()? else { break };
            let values = rows.iter().map(|row| &row[column]);
            match holds {
                Holds::Text => write::<ByteArrayType>(&mut writer, values.map(|value| value.as_str().map(bytes)))?,
                Holds::Json => write::<ByteArrayType>(&mut writer, values.map(json))?,
                Holds::Integer | Holds::Micros => write::<Int64Type>(&mut writer, values.map(Value::as_i64))?,
                Holds::Boolean => write::<BoolType>(&mut writer, values.map(Value::as_bool))?,
                Holds::Time => {
                    let millis = values.map(|value| time(value).map(|at| at.0.as_millisecond()));
                    write::<Int64Type>(&mut writer, millis)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        Ok(mem::take(self.0.inner_mut()))
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.0.finish()?;
        Ok(mem::take(self.0.inner_mut()))
    }
}

/// A column that may be empty.
fn field(name: &str, holds: Holds) -> Result<Type, Error> {
    let millis = LogicalType::timestamp(true, TimeUnit::MILLIS);
    let (physical, logical) = match holds {
        Holds::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Holds::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Holds::Integer => (Physical::INT64, None),
        Holds::Boolean => (Physical::BOOLEAN, None),
        Holds::Micros => (Physical::INT64, Some(LogicalType::decimal(6, DIGITS))),
        Holds::Time => (Physical::INT64, Some(millis)),
    };
    let mut field =
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL).with_logical_type(logical);
    if holds == Holds::Micros {
        field = field.with_precision(DIGITS).with_scale(6);
    }
    Ok(field.build()?)
}

fn write<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), Error> {
    let values: Vec<Option<T::T>> = values.collect();
    let there: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    writer.typed::<T>().write_batch(&values, Some(&there), None)?;
    Ok(())
}

fn bytes(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

fn json(value: &Value) -> Option<ByteArray> {
    if value.is_null() { None } else { Some(bytes(&value.to_string())) }
}
