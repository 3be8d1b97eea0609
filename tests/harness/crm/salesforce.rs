//! Salesforce, as far as tasks and the people they are about go: REST API v62.0.

use std::collections::{BTreeMap, VecDeque};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::{Asked, Crm, Said};

const ROOT: &str = "/services/data/v62.0";
const EXTERNAL_ID: &str = "Callbus_Call_Id__c";

/// What a task may have.
const FIELDS: [&str; 11] = [
    "Subject",
    "Description",
    "Status",
    "Priority",
    "TaskSubtype",
    "ActivityDate",
    "CallType",
    "CallDurationInSeconds",
    "CallDisposition",
    "CallObject",
    "WhoId",
];

/// An organisation.
#[derive(Debug)]
pub struct Salesforce {
    client: (String, String),
    /// Id, and phone as somebody typed it.
    people: Vec<(String, String)>,
    /// By id.
    pub tasks: BTreeMap<String, Map<String, Value>>,
    pub logins: usize,
    /// How often a token may be shown.
    pub token_uses_max: usize,
    uses: usize,
    /// The next so many requests run into the limit of the day, with what `Retry-After` says.
    pub limited: VecDeque<Option<u64>>,
    next_id: usize,
}

impl Salesforce {
    pub fn new(client_id: &str, client_secret: &str) -> Self {
        Self {
            client: (client_id.to_owned(), client_secret.to_owned()),
            people: Vec::new(),
            tasks: BTreeMap::new(),
            logins: 0,
            token_uses_max: usize::MAX,
            uses: 0,
            limited: VecDeque::new(),
            next_id: 0,
        }
    }

    pub fn contact(&mut self, phone: &str) -> String {
        let id = self.id("003");
        self.people.push((id.clone(), phone.to_owned()));
        id
    }

    /// The tasks with this id of ours: one, if all is well.
    pub fn called(&self, call: &str) -> Vec<Map<String, Value>> {
        self.tasks.values().filter(|task| task.get(EXTERNAL_ID).is_some_and(|id| id == call)).cloned().collect()
    }

    fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}xx{:010}AAA", self.next_id)
    }

    fn token(&mut self, asked: &Asked) -> Said {
        let form: BTreeMap<String, String> = pairs(&asked.body);
        let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let error = |code: &str, what: &str| Said::new(400, json!({ "error": code, "error_description": what }));
        if asked.header("content-type") != "application/x-www-form-urlencoded"
            || of("grant_type") != "client_credentials"
        {
            return error("unsupported_grant_type", "grant type not supported");
        }
        if of("client_id") != self.client.0 {
            return error("invalid_client_id", "client identifier invalid");
        }
        if of("client_secret") != self.client.1 {
            return error("invalid_client", "invalid client credentials");
        }
        self.logins += 1;
        self.uses = 0;
        Said::new(
            200,
            json!({
                "access_token": self.access_token(), "signature": "x", "instance_url": "https://elsewhere.example.com",
                "id": "https://login.salesforce.com/id/00Dx/005x", "token_type": "Bearer", "issued_at": "1700000000000",
            }),
        )
    }

    fn access_token(&self) -> String {
        format!("00Dxx!AQ{}", self.logins)
    }

    fn search(&self, query: &str) -> Said {
        let found = (|| {
            let rest = query.strip_prefix("FIND {")?;
            let (terms, rest) = rest.split_once("} IN PHONE FIELDS RETURNING ")?;
            rest.contains("Contact(Id").then_some(())?;
            let mut digits = Vec::new();
            for term in terms.split(" OR ") {
                let term = term.strip_prefix("\\+").unwrap_or(term);
                let plain = term.len() > 1 && term.bytes().all(|byte| byte.is_ascii_digit());
                digits.push(plain.then(|| term.to_owned())?);
            }
            let phone = |phone: &str| phone.chars().filter(char::is_ascii_digit).collect::<String>();
            let people = self.people.iter().filter(|(_, typed)| digits.contains(&phone(typed)));
            Some(people.map(|(id, _)| json!({ "attributes": { "type": "Contact" }, "Id": id })).collect::<Vec<_>>())
        })();
        match found {
            Some(found) => Said::new(200, json!({ "searchRecords": found })),
            None => error(400, "MALFORMED_SEARCH", "No search term found. The search term must be enclosed in braces."),
        }
    }

    fn upsert(&mut self, call: &str, wanted: &Value) -> Said {
        let Some(wanted) = wanted.as_object() else { return error(400, "JSON_PARSER_ERROR", "unexpected token") };
        let same: Vec<String> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.get(EXTERNAL_ID).is_some_and(|id| id == call))
            .map(|(id, _)| id.clone())
            .collect();
        if same.len() > 1 {
            let urls: Vec<String> = same.iter().map(|id| format!("{ROOT}/sobjects/Task/{id}")).collect();
            return Said::new(300, json!(urls));
        }
        for (name, value) in wanted {
            let text = value.as_str().unwrap_or_default();
            if !FIELDS.contains(&name.as_str()) {
                return error(400, "INVALID_FIELD", &format!("No such column '{name}' on sobject of type Task"));
            }
            if name == "TaskSubtype" && !same.is_empty() {
                let message = "Unable to create/update fields: TaskSubtype. Please check the security settings of this \
                               field and verify that it is read/write for your profile or permission set.";
                let mut said = error(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message);
                said.body[0]["fields"] = json!(["TaskSubtype"]);
                return said;
            }
            let good = match name.as_str() {
                "ActivityDate" => text.parse::<jiff::civil::Date>().is_ok(),
                "CallType" => ["Inbound", "Internal", "Outbound"].contains(&text),
                "CallDurationInSeconds" => value.is_u64(),
                "WhoId" => self.people.iter().any(|(id, _)| id == text),
                "Description" => text.chars().count() <= 32_000,
                _ => text.chars().count() <= 255,
            };
            if !good {
                return error(400, "JSON_PARSER_ERROR", &format!("Cannot deserialize {name} from {value}"));
            }
        }
        let is_new = same.is_empty();
        let id = same.into_iter().next().unwrap_or_else(|| self.id("00T"));
        let task = self.tasks.entry(id.clone()).or_default();
        task.extend(wanted.clone());
        task.insert(EXTERNAL_ID.to_owned(), json!(call));
        let body = json!({ "id": id, "success": true, "errors": [], "created": is_new });
        Said { wrote: true, ..Said::new(if is_new { 201 } else { 200 }, body) }
    }
}

impl Crm for Salesforce {
    fn answer(&mut self, asked: &Asked) -> Said {
        if asked.target == "/services/oauth2/token" {
            return self.token(asked);
        }
        self.uses += 1;
        let bearer = format!("Bearer {}", self.access_token());
        if self.logins == 0 || asked.header("authorization") != bearer || self.uses > self.token_uses_max {
            return error(401, "INVALID_SESSION_ID", "Session expired or invalid");
        }
        if let Some(retry_after) = self.limited.pop_front() {
            let mut said = error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.");
            said.headers.extend(retry_after.map(|secs| ("retry-after", secs.to_string())));
            return said;
        }
        let path = asked.target.strip_prefix(ROOT).unwrap_or_default();
        if let Some(query) = path.strip_prefix("/search/?").filter(|_| asked.method == "GET") {
            return self.search(pairs(query).get("q").map(String::as_str).unwrap_or_default());
        }
        match (asked.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
            ("PATCH", ["", "sobjects", "Task", EXTERNAL_ID, call]) => {
                let call = percent_decode_str(call).decode_utf8_lossy().into_owned();
                self.upsert(&call, &asked.json())
            }
            ("PATCH", ["", "sobjects", "Task", ..]) => {
                error(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible")
            }
            _ => error(404, "NOT_FOUND", "The requested resource does not exist"),
        }
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn error(status: u16, code: &str, message: &str) -> Said {
    Said::new(status, json!([{ "message": message, "errorCode": code }]))
}
