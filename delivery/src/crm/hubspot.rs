//! HubSpot: one call for each call, named by a unique property, so that writing it again changes that one.
//!
//! An upsert cannot say whom a call is with, so that is said apart; both may be said again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use outbound::Method;
use proto::{Direction, HubspotSettings, PhoneNumber};
use serde_json::{Value, json};

use super::Credentials;
use super::activity::{CallActivity, Status, national};
use super::fields::{Fields, is_word};
use super::template::{in_url, text_of};
use super::wire::{Ask, Heard, Payload, Wire, again, hopeless, short};
use crate::lane::Answer;

/// Where HubSpot is, unless told otherwise.
pub(super) const URL: &str = "https://api.hubapi.com";
const TOKEN: &str = "token";

/// Settings that were checked.
#[derive(Debug)]
pub(super) struct Hubspot {
    path: String,
    property: String,
    association: u32,
    time_zone: TimeZone,
    fields: Fields,
}

impl Hubspot {
    pub(super) const CREDENTIALS: [&str; 1] = [TOKEN];

    /// # Errors
    /// Says what is wrong with the settings.
    pub(super) fn parse(settings: &HubspotSettings) -> Result<Self, String> {
        let HubspotSettings { path, property, association, time_zone, direction: _, fields } = settings;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
        if !path.starts_with('/') || !path.bytes().all(plain) || path.contains("..") || path.len() > 255 {
            return Err(format!("path: {path:?} is no path such as /crm/objects/2026-09"));
        }
        if !is_word(property) {
            return Err(format!("property: {property:?} is no name of a property"));
        }
        let zone = TimeZone::get(time_zone)
            .map_err(|_| format!("time_zone: there is no {time_zone:?}; write Europe/Paris"))?;
        Ok(Self {
            path: path.trim_end_matches('/').to_owned(),
            property: property.clone(),
            association: *association,
            time_zone: zone,
            fields: Fields::parse(fields, property)?,
        })
    }

    /// The properties of a call.
    pub(super) fn properties(&self, activity: &CallActivity) -> BTreeMap<String, Value> {
        let status = match activity.status {
            Status::Answered => "COMPLETED",
            Status::Busy => "BUSY",
            Status::NoAnswer => "NO_ANSWER",
            Status::Cancelled => "CANCELED",
            Status::Failed | Status::Refused => "FAILED",
        };
        let direction = match activity.direction {
            Direction::Inbound => "INBOUND",
            Direction::Outbound => "OUTBOUND",
        };
        let ours = [
            ("hs_timestamp", Some(activity.started_at.to_string().into())),
            ("hs_call_title", Some(activity.title().into())),
            ("hs_call_body", Some(html(&activity.body()).into())),
            ("hs_call_direction", Some(direction.into())),
            ("hs_call_duration", Some((u64::from(activity.duration_secs) * 1000).into())),
            ("hs_call_from_number", activity.caller.clone().map(Value::from)),
            ("hs_call_to_number", activity.callee.clone().map(Value::from)),
            ("hs_call_status", Some(status.into())),
        ];
        // Every property is text to this API.
        let text = |(name, value)| (name, Value::from(text_of(&value)));
        self.fields.over(ours, &activity.values()).into_iter().map(text).collect()
    }

    /// Writes a call; answers its id.
    pub(super) async fn write(
        &self,
        wire: &Wire<'_>,
        credentials: &Credentials,
        activity: &CallActivity,
    ) -> Result<(u16, String), Answer> {
        let contact = match &activity.number {
            Some(number) => self.contact(wire, credentials, number).await?,
            None => None,
        };
        let input = json!({
            "idProperty": self.property, "id": activity.call_id, "properties": self.properties(activity),
        });
        let upsert = self.ask(credentials, Method::POST, "/calls/batch/upsert", Some(json!({ "inputs": [input] })));
        let written = wire.ask(upsert, || json!({ "results": [{ "id": "CALL" }] })).await?;
        let written = self.judge(written, wire.now)?;
        let Some(id) = written.body.pointer("/results/0/id").map(text_of) else {
            let cause = format!("it answers {} without a call{}", written.status, written.words());
            // 207: some of the batch went wrong, and the batch is this call.
            let invalid =
                written.body.pointer("/errors/0/category").is_some_and(|category| category == "VALIDATION_ERROR");
            return Err(if invalid { hopeless } else { again }(Some(written.status), cause));
        };
        if let Some(contact) = contact {
            let (id, contact): (String, String) = (in_url(&id).collect(), in_url(&contact).collect());
            let path = format!("/calls/{id}/associations/contacts/{contact}");
            let kind = json!([{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": self.association }]);
            let associated = wire.ask(self.ask(credentials, Method::PUT, &path, Some(kind)), || json!({})).await?;
            self.judge(associated, wire.now)?;
        }
        Ok((written.status, id))
    }

    /// The oldest contact with this number, however it is written.
    async fn contact(
        &self,
        wire: &Wire<'_>,
        credentials: &Credentials,
        number: &PhoneNumber,
    ) -> Result<Option<String>, Answer> {
        let spellings = [number.as_str(), number.digits(), national(number)];
        let written = |property: &str| json!({ "propertyName": property, "operator": "IN", "values": spellings });
        // HubSpot's own reading of a number, which has no calling code.
        let read = |property: &str| json!({ "propertyName": property, "operator": "EQ", "value": national(number) });
        let any = [
            written("phone"),
            written("mobilephone"),
            read("hs_searchable_calculated_phone_number"),
            read("hs_searchable_calculated_mobile_number"),
        ];
        let search = json!({
            "filterGroups": any.map(|filter| json!({ "filters": [filter] })),
            "sorts": [{ "propertyName": "createdate", "direction": "ASCENDING" }],
            "properties": ["phone"],
            "limit": 1,
        });
        let ask = self.ask(credentials, Method::POST, "/contacts/search", Some(search));
        let found = self.judge(wire.ask(ask, || json!({ "results": [{ "id": "CONTACT" }] })).await?, wire.now)?;
        Ok(found.body.pointer("/results/0/id").map(text_of))
    }

    fn ask(&self, credentials: &Credentials, method: Method, path: &str, json: Option<Value>) -> Ask {
        let token = credentials.get(TOKEN).map(String::as_str).unwrap_or_default();
        Ask {
            method,
            path: format!("{}{path}", self.path),
            headers: vec![("authorization".to_owned(), format!("Bearer {token}"))],
            payload: json.map_or(Payload::None, Payload::Json),
        }
    }

    /// A 429 names the limit: that of a second or of ten is over soon, that of a day at midnight.
    fn judge(&self, heard: Heard, now: Timestamp) -> Result<Heard, Answer> {
        if heard.is_good() {
            return Ok(heard);
        }
        if heard.status != 429 {
            return Err(heard.refusal());
        }
        let policy = heard.body["policyName"].as_str().unwrap_or_default().to_ascii_uppercase();
        let pause = match policy.as_str() {
            "DAILY" => until_midnight(now, &self.time_zone),
            "SECONDLY" => Duration::from_secs(1),
            _ => Duration::from_secs(10),
        };
        let cause = format!("it answers 429 ({}){}", short(&policy), heard.words());
        Err(heard.limited(heard.retry_after.unwrap_or(pause), cause))
    }
}

/// What a caller is called may be anything.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>")
}

fn until_midnight(now: Timestamp, zone: &TimeZone) -> Duration {
    let today = now.to_zoned(zone.clone()).start_of_day();
    let next = today.and_then(|day| day.checked_add(1.day())).and_then(|day| day.start_of_day());
    let pause = next.ok().and_then(|next| Duration::try_from(next.timestamp().duration_since(now)).ok());
    pause.unwrap_or(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::activity::tests::activity;
    use super::*;

    fn properties(settings: Value, cdr: Value) -> String {
        let settings: HubspotSettings = serde_json::from_value(settings).expect("settings");
        let properties = Hubspot::parse(&settings).expect("good").properties(&activity(cdr));
        serde_json::to_string_pretty(&properties).expect("JSON")
    }

    #[test]
    fn an_answered_call_is_a_completed_one() {
        expect![[r#"
            {
              "hs_call_body": "From +14155550123 to +442071838750, 62 s<br>Billed 120 s, 0.42 EUR<br>Reason CALLERHANGUP<br>Call call:1@sinch",
              "hs_call_direction": "INBOUND",
              "hs_call_duration": "62000",
              "hs_call_from_number": "+14155550123",
              "hs_call_status": "COMPLETED",
              "hs_call_title": "Inbound call from +14155550123: answered",
              "hs_call_to_number": "+442071838750",
              "hs_timestamp": "2026-11-21T20:00:00Z"
            }"#]].assert_eq(&properties(json!({}), json!({})));
    }

    #[test]
    fn a_refused_call_of_an_app_has_failed() {
        let cdr =
            json!({ "from": "alice <b>", "refused": "NO_CREDIT", "result": null, "duration_secs": 0, "legs": [] });
        expect![[r#"
            {
              "hs_call_body": "From alice &lt;b&gt; to +442071838750, 0 s<br>Reason NO_CREDIT<br>Call call:1@sinch",
              "hs_call_direction": "OUTBOUND",
              "hs_call_duration": "0",
              "hs_call_from_number": "alice <b>",
              "hs_call_status": "FAILED",
              "hs_call_title": "Outbound call to +442071838750: refused",
              "hs_call_to_number": "+442071838750",
              "hs_timestamp": "2026-11-21T20:00:00Z"
            }"#]]
        .assert_eq(&properties(json!({}), cdr));
    }

    #[test]
    fn every_property_may_be_another() {
        let fields = json!({
            "hs_call_title": "{{status}} ({{billed_seconds}} s)", "hs_call_body": "", "hubspot_owner_id": "77",
            "cost_of_call": "{{cost}}", "why": "{{refused}}", "hs_call_duration": "{{duration}}",
        });
        expect![[r#"
            {
              "cost_of_call": "0.42",
              "hs_call_direction": "INBOUND",
              "hs_call_duration": "62",
              "hs_call_from_number": "+14155550123",
              "hs_call_status": "COMPLETED",
              "hs_call_title": "answered (120 s)",
              "hs_call_to_number": "+442071838750",
              "hs_timestamp": "2026-11-21T20:00:00Z",
              "hubspot_owner_id": "77"
            }"#]]
        .assert_eq(&properties(json!({ "fields": fields }), json!({})));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (settings, said) in [
            (json!({ "fields": { "hs_call_title": "{{calller}}" } }), "did you mean {{caller}}?"),
            (json!({ "fields": { "callbus_call_id": "x" } }), "holds the call id"),
            (json!({ "fields": { "a b": "x" } }), "no name of a field"),
            (json!({ "path": "/crm/../oauth" }), "no path"),
            (json!({ "time_zone": "Mars/North" }), "there is no \"Mars/North\""),
            (json!({ "property": "" }), "no name of a property"),
        ] {
            let settings: HubspotSettings = serde_json::from_value(settings).expect("settings");
            let why = Hubspot::parse(&settings).expect_err("refused");
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn each_limit_is_over_at_its_time() {
        let settings = HubspotSettings { time_zone: "America/New_York".to_owned(), ..HubspotSettings::default() };
        let hubspot = Hubspot::parse(&settings).expect("good");
        let now: Timestamp = "2026-11-21T20:00:00Z".parse().expect("time");
        for (policy, retry_after, secs) in [
            ("TEN_SECONDLY_ROLLING", None, 10),
            ("TEN_SECONDLY_ROLLING", Some(3), 3),
            ("SECONDLY", None, 1),
            ("DAILY", None, 9 * 3600),
        ] {
            let retry_after = retry_after.map(Duration::from_secs);
            let heard = Heard { status: 429, retry_after, body: json!({ "policyName": policy, "message": "no" }) };
            let Err(Answer::Limited { pause, cause, .. }) = hubspot.judge(heard, now) else { panic!("{policy}") };
            assert_eq!(pause, Duration::from_secs(secs), "{policy}");
            assert_eq!(cause, format!("it answers 429 ({policy}): no"));
        }
    }
}
