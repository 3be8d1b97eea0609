//! HubSpot, as far as calls and contacts go: API of 2026-09.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Asked, Crm, Said};

const ROOT: &str = "/crm/objects/2026-09";
/// Of a private app in a free account.
const PER_TEN_SECONDS: usize = 100;

/// What a call may have, without what an administrator adds.
const PROPERTIES: [&str; 11] = [
    "hs_timestamp",
    "hs_call_title",
    "hs_call_body",
    "hs_call_direction",
    "hs_call_duration",
    "hs_call_from_number",
    "hs_call_to_number",
    "hs_call_status",
    "hs_call_recording_url",
    "hs_call_disposition",
    "hubspot_owner_id",
];

/// An account.
#[derive(Debug)]
pub struct Hubspot {
    token: String,
    /// By id, with its properties.
    contacts: BTreeMap<u64, BTreeMap<String, String>>,
    /// The same of calls.
    pub calls: BTreeMap<u64, BTreeMap<String, String>>,
    /// Calls and contacts that belong together.
    pub associations: BTreeSet<(u64, u64)>,
    /// The next so many requests run into a limit: its name, and what `Retry-After` says.
    pub limited: VecDeque<(&'static str, Option<u64>)>,
    lately: VecDeque<Instant>,
    next_id: u64,
}

impl Hubspot {
    pub fn new(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            contacts: BTreeMap::new(),
            calls: BTreeMap::new(),
            associations: BTreeSet::new(),
            limited: VecDeque::new(),
            lately: VecDeque::new(),
            next_id: 101,
        }
    }

    /// A contact, with its phone as somebody typed it.
    pub fn contact(&mut self, property: &str, phone: &str) -> u64 {
        let id = self.id();
        self.contacts.insert(id, BTreeMap::from([(property.to_owned(), phone.to_owned())]));
        id
    }

    /// The calls with this id of ours: one, if all is well.
    pub fn called(&self, call: &str) -> Vec<u64> {
        let ours =
            |properties: &BTreeMap<String, String>| properties.get("callbus_call_id").is_some_and(|id| id == call);
        self.calls.iter().filter(|(_, properties)| ours(properties)).map(|(id, _)| *id).collect()
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn over_limit(&mut self) -> Option<Said> {
        let now = Instant::now();
        while self.lately.front().is_some_and(|at| now - *at > Duration::from_secs(10)) {
            self.lately.pop_front();
        }
        self.lately.push_back(now);
        let full = (self.lately.len() > PER_TEN_SECONDS).then_some(("TEN_SECONDLY_ROLLING", None));
        let (policy, retry_after) = self.limited.pop_front().or(full)?;
        let limit = policy.to_ascii_lowercase();
        let mut said = Said::new(
            429,
            json!({
                "status": "error", "message": format!("You have reached your {limit} limit."), "errorType": "RATE_LIMIT",
                "correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24", "policyName": policy,
            }),
        );
        said.headers = vec![
            ("x-hubspot-ratelimit-interval-milliseconds", "10000".to_owned()),
            ("x-hubspot-ratelimit-max", PER_TEN_SECONDS.to_string()),
            ("x-hubspot-ratelimit-remaining", "0".to_owned()),
        ];
        said.headers.extend(retry_after.map(|secs| ("retry-after", secs.to_string())));
        Some(said)
    }

    fn search(&self, wanted: &Value) -> Said {
        let groups = wanted["filterGroups"].as_array().map(Vec::as_slice).unwrap_or_default();
        if groups.len() > 5 {
            return invalid("there are more than 5 filterGroups");
        }
        let mut found = Vec::new();
        for (id, properties) in &self.contacts {
            let mut any = false;
            for filter in groups.iter().flat_map(|group| group["filters"].as_array().into_iter().flatten()) {
                let name = filter["propertyName"].as_str().unwrap_or_default();
                let value = match name {
                    "phone" | "mobilephone" => properties.get(name).cloned(),
                    // HubSpot's own reading leaves the calling code out; here all are North America's.
                    "hs_searchable_calculated_phone_number" => properties.get("phone").map(|text| calculated(text)),
                    "hs_searchable_calculated_mobile_number" => {
                        properties.get("mobilephone").map(|text| calculated(text))
                    }
                    _ => {
                        return invalid(&format!(
                            "There was a problem with the request: property {name} does not exist"
                        ));
                    }
                };
                any |= match filter["operator"].as_str() {
                    Some("EQ") => filter["value"].as_str().is_some_and(|wanted| value.as_deref() == Some(wanted)),
                    Some("IN") => filter["values"].as_array().is_some_and(|all| {
                        all.iter().any(|wanted| wanted.as_str().is_some() && wanted.as_str() == value.as_deref())
                    }),
                    _ => return invalid("unknown operator"),
                };
            }
            if any {
                found.push(json!({ "id": id.to_string(), "properties": properties }));
            }
        }
        let limit = wanted["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
        let total = found.len();
        found.truncate(limit);
        Said::new(200, json!({ "total": total, "results": found }))
    }

    fn upsert(&mut self, wanted: &Value) -> Said {
        let inputs = wanted["inputs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let [input] = inputs else { return invalid("one at a time, in these stories") };
        if input["idProperty"] != "callbus_call_id" {
            return invalid(&format!("Property {} is not a unique property of calls", input["idProperty"]));
        }
        let (Some(call), Some(wanted)) = (input["id"].as_str(), input["properties"].as_object()) else {
            return invalid("id and properties are required");
        };
        let mut properties = BTreeMap::new();
        for (name, value) in wanted {
            let Some(value) = value.as_str() else { return invalid(&format!("{name} is no text")) };
            if !PROPERTIES.contains(&name.as_str()) {
                return invalid(&format!("Property \"{name}\" does not exist"));
            }
            let good = match name.as_str() {
                "hs_call_direction" => ["INBOUND", "OUTBOUND"].contains(&value),
                "hs_call_status" => ["COMPLETED", "BUSY", "NO_ANSWER", "FAILED", "CANCELED"].contains(&value),
                "hs_call_duration" => value.parse::<u64>().is_ok(),
                "hs_timestamp" => value.parse::<jiff::Timestamp>().is_ok(),
                _ => true,
            };
            if !good {
                return invalid(&format!("{value} was not one of the allowed options of {name}"));
            }
            properties.insert(name.clone(), value.to_owned());
        }
        let before = self.called(call).first().copied();
        if before.is_none() && !properties.contains_key("hs_timestamp") {
            return invalid("Required properties were not set: hs_timestamp");
        }
        let id = before.unwrap_or_else(|| self.id());
        let all = self.calls.entry(id).or_default();
        all.extend(properties);
        all.insert("callbus_call_id".to_owned(), call.to_owned());
        let result = json!({ "id": id.to_string(), "new": before.is_none(), "properties": all, "archived": false });
        Said { wrote: true, ..Said::new(200, json!({ "status": "COMPLETE", "results": [result] })) }
    }

    fn associate(&mut self, call: &str, contact: &str, kinds: &Value) -> Said {
        let (Ok(call), Ok(contact)) = (call.parse(), contact.parse()) else { return not_found() };
        if !self.calls.contains_key(&call) || !self.contacts.contains_key(&contact) {
            return not_found();
        }
        if *kinds != json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 194 }]) {
            return invalid("no such association type");
        }
        self.associations.insert((call, contact));
        Said::new(201, json!({ "fromObjectTypeId": "0-48", "toObjectTypeId": "0-1", "labels": [] }))
    }
}

impl Crm for Hubspot {
    fn answer(&mut self, asked: &Asked) -> Said {
        if asked.header("authorization") != format!("Bearer {}", self.token) {
            let message = "Authentication credentials not found. This API supports OAuth 2.0 authentication.";
            return error(401, "INVALID_AUTHENTICATION", message);
        }
        if asked.header("content-type") != "application/json" {
            return error(415, "VALIDATION_ERROR", "Unsupported Media Type");
        }
        if let Some(said) = self.over_limit() {
            return said;
        }
        let path = asked.target.strip_prefix(ROOT).unwrap_or_default();
        match (asked.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
            ("POST", ["", "contacts", "search"]) => self.search(&asked.json()),
            ("POST", ["", "calls", "batch", "upsert"]) => self.upsert(&asked.json()),
            ("PUT", ["", "calls", call, "associations", "contacts", contact]) => {
                self.associate(call, contact, &asked.json())
            }
            _ => not_found(),
        }
    }
}

fn calculated(phone: &str) -> String {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    digits.strip_prefix('1').unwrap_or(&digits).to_owned()
}

fn invalid(message: &str) -> Said {
    error(400, "VALIDATION_ERROR", message)
}

fn not_found() -> Said {
    error(404, "OBJECT_NOT_FOUND", "resource not found")
}

fn error(status: u16, category: &str, message: &str) -> Said {
    let correlation = "aeb5f871-7f07-4993-9211-075dc63e7cbf";
    Said::new(
        status,
        json!({ "status": "error", "message": message, "correlationId": correlation, "category": category }),
    )
}
