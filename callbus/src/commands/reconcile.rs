//! `callbus reconcile`: do our CDRs say what the platform says? Against its own list, or by asking about each call.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use bus::Clock;
use futures::{StreamExt, stream};
use proto::{AppName, CallId, CallInfo, Settled};
use rust_decimal::Decimal;
use serde::Serialize;

use super::cdrs::{self, Cdr, Cdrs};
use crate::cli::Reconcile;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::platform;
use crate::roles::open_to_read;

/// Calls asked about at the same time.
const ASKS_MAX: usize = 8;
/// Rows of a list.
const ROWS_MAX: usize = 1_000_000;

/// How people name the columns, letters and digits only, in lower case.
const CALL: &[&str] = &["callid", "id", "call", "sessionid"];
const DURATION: &[&str] =
    &["duration", "durationsecs", "durationseconds", "durations", "seconds", "billsec", "callduration"];
const RESULT: &[&str] = &["result", "callresult", "disposition", "status"];
const DEBIT: &[&str] = &["debit", "amount", "cost", "price", "charge", "totalprice"];

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Compared {
    matched: u64,
    /// The platform does not say yet: the call goes on, or it could not be asked.
    untold: u64,
    different: Vec<Difference>,
    /// The platform lists them, and the log has no CDR.
    missing_here: Vec<String>,
    /// The log has a CDR, and the platform knows no such call.
    missing_there: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Difference {
    call: String,
    what: &'static str,
    here: String,
    there: String,
}

/// What the platform says of a call; what it does not say is not compared.
#[derive(Debug, Default, PartialEq)]
struct There {
    result: Option<String>,
    duration_secs: Option<u32>,
    debit: Option<Decimal>,
}

/// # Errors
/// Exit 3 when something differs.
pub(crate) async fn run(
    config: &Config,
    environment: &Environment,
    output: Output,
    asked: &Reconcile,
) -> Result<(), Failure> {
    let bus = open_to_read(config, environment).await?;
    let since = Clock::System.now().checked_sub(asked.since).context("--since")?;
    let compared = match &asked.csv {
        Some(file) => {
            let theirs = list(&read(file)?)?;
            let named: HashSet<String> = theirs.keys().cloned().collect();
            against(&cdrs::since(&bus, since, &named).await?, theirs)
        }
        None => ask_about(config, &cdrs::since(&bus, since, &HashSet::new()).await?).await?,
    };
    tell(output, &compared);
    if compared.well() { Ok(()) } else { Err(Failure::say(Exit::CheckFailed, "the log and the platform differ")) }
}

/// Compares with a list of the platform's.
fn against(cdrs: &Cdrs, mut theirs: BTreeMap<String, There>) -> Compared {
    let mut compared = Compared::default();
    for ((_, call), Cdr { settled, .. }) in cdrs {
        match theirs.remove(call.as_str()) {
            Some(there) => compared.compare(settled, &there),
            None => compared.missing_there.push(call.to_string()),
        }
    }
    compared.missing_here = theirs.into_keys().collect();
    compared
}

/// Asks the platform about each call. What it has and we have not cannot be found out so.
async fn ask_about(config: &Config, cdrs: &Cdrs) -> Result<Compared, Failure> {
    let platform = platform::open(config)?.ok_or_else(|| {
        let todo = "set [platform] url, or compare with a list: --csv FILE";
        Failure::say(Exit::Usage, format!("the configuration names no platform to ask; {todo}"))
    })?;
    let apps = platform::credentials(config)?;
    let ask = |app: &AppName, call: &CallId| {
        let (platform, credentials, call) = (platform.clone(), apps.get(app).cloned(), call.clone());
        async move {
            let (key, secret) = credentials.ok_or_else(|| "the app is not in the configuration".to_owned())?;
            let told = platform.call(&key, &secret, &call, Clock::System.now()).await;
            Ok::<_, String>(told.map_err(|error| error.to_string())?.map(|(info, _)| info))
        }
    };
    let told = cdrs.iter().map(|((app, call), cdr)| {
        let told = ask(app, call);
        async move { (call, &cdr.settled, told.await) }
    });
    let (mut compared, mut told, mut why) = (Compared::default(), stream::iter(told).buffered(ASKS_MAX), None);
    while let Some((call, settled, told)) = told.next().await {
        match told {
            Ok(Some(info)) if info.over => compared.compare(settled, &There::of(info)),
            Ok(None) => compared.missing_there.push(call.to_string()),
            Ok(Some(_)) => compared.untold += 1,
            Err(error) => {
                compared.untold += 1;
                why.get_or_insert(error);
            }
        }
    }
    match why {
        Some(why) if compared.untold == cdrs.len() as u64 => Err(Failure::say(Exit::Unreachable, why)),
        Some(_) | None => Ok(compared),
    }
}

impl Compared {
    fn well(&self) -> bool {
        self.different.is_empty() && self.missing_here.is_empty() && self.missing_there.is_empty()
    }

    fn compare(&mut self, settled: &Settled, there: &There) {
        let differences = self.different.len();
        let mut differ = |what, here: Option<String>, there: Option<String>| {
            let (Some(here), Some(there)) = (here, there) else { return };
            if here != there {
                self.different.push(Difference { call: settled.call.to_string(), what, here, there });
            }
        };
        differ("result", settled.result.clone(), there.result.clone());
        let answered = settled.result.as_deref() == Some("ANSWERED");
        let duration = |secs: u32| answered.then(|| secs.to_string());
        differ("duration", duration(settled.duration_secs), there.duration_secs.and_then(duration));
        let debit = settled.supplier_cost.as_ref().map(|cost| cost.amount.normalize().to_string());
        differ("debit", debit, there.debit.map(|debit| debit.normalize().to_string()));
        if self.different.len() == differences {
            self.matched += 1;
        }
    }
}

impl There {
    fn of(info: CallInfo) -> Self {
        let debit = info.debit.and_then(|debit| debit.amount);
        Self { result: info.result, duration_secs: info.duration_secs, debit }
    }
}

/// Calls by their id, from CSV with a header.
fn list(text: &[u8]) -> Result<BTreeMap<String, There>, Failure> {
    let bad = |why: String| Failure::say(Exit::Usage, format!("read the list: {why}"));
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
    let column = |names: &[&str]| {
        let plain = |name: &str| -> String {
            name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
        };
        names.iter().find_map(|name| header.iter().position(|column| plain(column) == *name))
    };
    let (duration, result, debit) = (column(DURATION), column(RESULT), column(DEBIT));
    let Some(call) = column(CALL) else {
        let columns = header.iter().collect::<Vec<_>>().join(", ");
        return Err(bad(format!("it has no column `call id`, but {columns}")));
    };
    let mut rows = BTreeMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| bad(error.to_string()))?;
        let line = row.position().map(csv::Position::line).unwrap_or_default();
        let field = |column: Option<usize>| column.and_then(|column| row.get(column)).filter(|text| !text.is_empty());
        let number = |what, column| {
            let number = field(column).map(|text| text.parse::<Decimal>().map_err(|_| (what, text.to_owned())));
            number.transpose().map_err(|(what, text)| bad(format!("line {line}: the {what} {text:?} is not a number")))
        };
        let Some(call) = field(Some(call)) else { return Err(bad(format!("line {line}: it has no call id"))) };
        let duration_secs = number("duration", duration)?.and_then(|secs| u32::try_from(secs.ceil()).ok());
        let there =
            There { result: field(result).map(str::to_ascii_uppercase), duration_secs, debit: number("debit", debit)? };
        if rows.insert(call.to_owned(), there).is_some() {
            return Err(bad(format!("line {line}: the call {call} stands twice")));
        }
        if rows.len() > ROWS_MAX {
            return Err(bad(format!("it has more than {ROWS_MAX} calls; split it")));
        }
    }
    Ok(rows)
}

/// `-` is stdin.
fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).context("read the list from stdin")?;
        return Ok(text);
    }
    std::fs::read(file).with_context(|| format!("read {}", file.display()))
}

fn tell(output: Output, compared: &Compared) {
    if output.json {
        output.json(compared);
        return;
    }
    let Compared { matched, untold, different, missing_here, missing_there } = compared;
    let differences = different.iter().map(|difference| {
        let Difference { call, what, here, there } = difference;
        [call.clone(), (*what).to_owned(), here.clone(), there.clone()]
    });
    let missing = |calls: &[String], [here, there]: [&str; 2]| -> Vec<[String; 4]> {
        let row = |call: &String| [call.clone(), "call".to_owned(), here.to_owned(), there.to_owned()];
        calls.iter().map(row).collect()
    };
    let mut rows: Vec<_> = differences.collect();
    rows.extend(missing(missing_here, ["missing", "listed"]));
    rows.extend(missing(missing_there, ["settled", "missing"]));
    if !rows.is_empty() {
        output.table(["CALL", "WHAT", "HERE", "THERE"], rows);
        output.line("");
    }
    let calls: HashSet<&str> = different.iter().map(|difference| difference.call.as_str()).collect();
    let tone = if compared.well() { Tone::Good } else { Tone::Bad };
    let counts = format!(
        "{matched} matched, {} different, {} missing here, {} missing there, {untold} not told yet",
        calls.len(),
        missing_here.len(),
        missing_there.len(),
    );
    output.line(output.toned(tone, counts));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_by_whatever_its_columns_are_called() {
        let expected = BTreeMap::from([
            (
                "a".to_owned(),
                There { result: Some("ANSWERED".into()), duration_secs: Some(63), debit: "0.0095".parse().ok() },
            ),
            ("b".to_owned(), There::default()),
        ]);
        for text in [
            "Call ID,Duration (s),Result,Debit\na,63,answered,0.0095\nb,,,\n",
            "when,call_id,seconds,disposition,price\nnow,a,62.4,ANSWERED,0.00950\nnow,b,,,\n",
        ] {
            assert_eq!(list(text.as_bytes()).ok().as_ref(), Some(&expected), "{text}");
        }
        for bad in ["duration\n1\n", "callid,duration\na,soon\n", "callid\na\na\n", "callid,duration\n,1\n"] {
            assert!(list(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
