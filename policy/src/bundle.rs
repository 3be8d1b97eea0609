//! A policy file together with its list files: what is pushed over the bus, and decides the same wherever it is loaded.

use std::cell::RefCell;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::errors::PolicyErrors;
use crate::policy::Policy;

/// The shape of a bundle as it is stored.
const VERSION: u32 = 1;

/// A policy file and the files it names. Loading it gives the policy, and the revision, that the files gave.
///
/// ```
/// use policy::Bundle;
/// let text = "version: 1\nlists: { staff: { file: staff.txt } }\n";
/// let (bundle, policy) = Bundle::read(text, "acme.yaml", &|_| Ok("+46701234567".to_owned())).unwrap();
/// let stored = serde_json::to_string(&bundle).unwrap();
/// let again: Bundle = serde_json::from_str(&stored).unwrap();
/// assert_eq!(again.load().unwrap().revision(), policy.revision());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Stored")]
pub struct Bundle {
    /// The policy file's name, for errors.
    pub file_name: String,
    /// The policy file.
    pub text: String,
    /// Texts of the list files, by the path written in the policy.
    pub files: BTreeMap<String, String>,
}

impl Bundle {
    /// Loads a policy and keeps what was read for it. Each file is read once, however often it is named.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn read(
        text: &str,
        file_name: &str,
        read_file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<(Self, Policy), PolicyErrors> {
        let files = RefCell::new(BTreeMap::new());
        let policy = Policy::load(text, file_name, &|path| {
            if let Some(text) = files.borrow().get(path) {
                return Ok(String::clone(text));
            }
            let text = read_file(path)?;
            files.borrow_mut().insert(path.to_owned(), text.clone());
            Ok(text)
        })?;
        let bundle = Self { file_name: file_name.to_owned(), text: text.to_owned(), files: files.into_inner() };
        Ok((bundle, policy))
    }

    /// # Errors
    /// As [`Policy::load`]; a file that is named and not in the bundle cannot be read.
    pub fn load(&self) -> Result<Policy, PolicyErrors> {
        Policy::load(&self.text, &self.file_name, &|path| {
            self.files.get(path).cloned().ok_or_else(|| "it is not in the bundle".to_owned())
        })
    }
}

/// As it is stored. The version comes first, so that another one is refused for what it is and not for its new fields.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(deserialize_with = "this_version")]
    version: u32,
    file_name: String,
    text: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, String>,
}

impl Serialize for Bundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { file_name, text, files } = self.clone();
        Stored { version: VERSION, file_name, text, files }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bundle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { version: _, file_name, text, files } = Stored::deserialize(deserializer)?;
        Ok(Self { file_name, text, files })
    }
}

fn this_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let version = u32::deserialize(deserializer)?;
    if version == VERSION {
        return Ok(version);
    }
    Err(D::Error::custom(format!(
        "a policy bundle of version {version}, and this callbus reads version {VERSION}: update it, or push the policy with it"
    )))
}
