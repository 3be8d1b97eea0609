//! Salesforce: one task for each call, named by an external id, so that writing it again changes that one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outbound::Method;
use proto::{Direction, PhoneNumber, SalesforceSettings};
use serde_json::{Value, json};

use super::Credentials;
use super::activity::{CallActivity, national};
use super::fields::{Fields, is_word};
use super::template::{in_url, text_of};
use super::wire::{Ask, Heard, Payload, Wire, again, hopeless, short};
use crate::lane::Answer;
use crate::session::Session;

const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
/// Pause after the limit of 24 hours, which has no end of its own: it rolls.
const LIMITED_FOR: Duration = Duration::from_secs(15 * 60);
/// Texts of a task, but for its description.
const TEXT_CHARS_MAX: usize = 255;
/// A field of a task that may be set but never changed.
const FOR_EVER: &str = "TaskSubtype";

/// Settings that were checked, and the token there is.
#[derive(Debug)]
pub(super) struct Salesforce {
    version: String,
    external_id: String,
    fields: Fields,
    token: Session<String>,
}

impl Salesforce {
    pub(super) const CREDENTIALS: [&str; 2] = [CLIENT_ID, CLIENT_SECRET];

    /// # Errors
    /// Says what is wrong with the settings.
    pub(super) fn parse(settings: &SalesforceSettings) -> Result<Self, String> {
        let SalesforceSettings { version, external_id, direction: _, fields } = settings;
        let numbers = version.strip_prefix('v').and_then(|numbers| numbers.split_once('.'));
        let number = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !numbers.is_some_and(|(major, minor)| number(major) && number(minor)) {
            return Err(format!("version: {version:?} is no version such as v62.0"));
        }
        if !is_word(external_id) {
            return Err(format!("external_id: {external_id:?} is no name of a field such as Callbus_Call_Id__c"));
        }
        let fields = Fields::parse(fields, external_id)?;
        Ok(Self { version: version.clone(), external_id: external_id.clone(), fields, token: Session::default() })
    }

    /// The fields of a task.
    pub(super) fn fields(&self, activity: &CallActivity, who: Option<String>) -> BTreeMap<String, Value> {
        let direction = match activity.direction {
            Direction::Inbound => "Inbound",
            Direction::Outbound => "Outbound",
        };
        let said = activity.refused.as_deref().or(activity.result.as_deref());
        let disposition = said.unwrap_or(activity.status.as_str());
        let cut = |text: &str| Value::from(text.chars().take(TEXT_CHARS_MAX).collect::<String>());
        let ours = [
            ("Subject", Some(cut(&activity.title()))),
            ("Description", Some(activity.body().into())),
            ("Status", Some("Completed".into())),
            (FOR_EVER, Some("Call".into())),
            ("ActivityDate", Some(activity.started_at.strftime("%Y-%m-%d").to_string().into())),
            ("CallType", Some(direction.into())),
            ("CallDurationInSeconds", Some(activity.duration_secs.into())),
            ("CallDisposition", Some(cut(disposition))),
            ("CallObject", Some(cut(&activity.call_id))),
            ("WhoId", who.map(Value::from)),
        ];
        self.fields.over(ours, &activity.values())
    }

    /// Writes a call; answers its task's id.
    pub(super) async fn write(
        &self,
        wire: &Wire<'_>,
        credentials: &Credentials,
        activity: &CallActivity,
    ) -> Result<(u16, String), Answer> {
        let who = match &activity.number {
            Some(number) => self.person(wire, credentials, number).await?,
            None => None,
        };
        let call_id: String = in_url(&activity.call_id).collect();
        let path = format!("/sobjects/Task/{}/{call_id}", self.external_id);
        let mut fields = self.fields(activity, who);
        let sample = || json!({ "id": "TASK", "success": true, "created": true });
        let mut heard = self.ask(wire, credentials, Method::PATCH, &path, Some(json!(fields)), sample).await?;
        if heard.status == 400 && is_about(&heard, FOR_EVER) && fields.remove(FOR_EVER).is_some() {
            // The task is there already, and has it.
            heard = self.ask(wire, credentials, Method::PATCH, &path, Some(json!(fields)), sample).await?;
        }
        if heard.status == 300 {
            let cause = format!("several tasks have this call id; make {} unique", self.external_id);
            return Err(hopeless(Some(300), cause));
        }
        let heard = judge(heard)?;
        let id = heard.body.get("id").map(text_of);
        Ok((heard.status, id.unwrap_or_else(|| activity.call_id.clone())))
    }

    /// The oldest contact with this number, else the oldest lead, however it is written.
    async fn person(
        &self,
        wire: &Wire<'_>,
        credentials: &Credentials,
        number: &PhoneNumber,
    ) -> Result<Option<String>, Answer> {
        let digits = number.digits();
        // A plus is one of the language's own signs.
        let find = format!(
            "FIND {{\\+{digits} OR {digits} OR {}}} IN PHONE FIELDS RETURNING Contact(Id ORDER BY CreatedDate LIMIT 1), \
             Lead(Id WHERE IsConverted = false ORDER BY CreatedDate LIMIT 1)",
            national(number)
        );
        let path = format!("/search/?q={}", in_url(&find).collect::<String>());
        let sample = || json!({ "searchRecords": [{ "attributes": { "type": "Contact" }, "Id": "CONTACT" }] });
        let heard = judge(self.ask(wire, credentials, Method::GET, &path, None, sample).await?)?;
        let found = heard.body["searchRecords"].as_array();
        let of = |kind: &str| {
            let one = found?.iter().find(|record| record["attributes"]["type"] == kind)?;
            one["Id"].as_str().map(str::to_owned)
        };
        Ok(of("Contact").or_else(|| of("Lead")))
    }

    /// Asks with the token there is; one that has expired is fetched anew, once.
    async fn ask(
        &self,
        wire: &Wire<'_>,
        credentials: &Credentials,
        method: Method,
        path: &str,
        json: Option<Value>,
        sample: impl Fn() -> Value,
    ) -> Result<Heard, Answer> {
        let with = |token: &Arc<String>| Ask {
            method: method.clone(),
            path: format!("/services/data/{}{path}", self.version),
            headers: vec![("authorization".to_owned(), format!("Bearer {token}"))],
            payload: json.clone().map_or(Payload::None, Payload::Json),
        };
        let token = self.token.get(None, wire.now, || log_in(wire, credentials)).await?;
        let heard = wire.ask(with(&token), &sample).await?;
        if heard.status != 401 {
            return Ok(heard);
        }
        let token = self.token.get(Some(&token), wire.now, || log_in(wire, credentials)).await?;
        wire.ask(with(&token), &sample).await
    }
}

/// Fetches a token, by OAuth 2's client credentials. Salesforce does not say how long it is good: until it is refused.
async fn log_in(wire: &Wire<'_>, credentials: &Credentials) -> Result<(String, Timestamp), Answer> {
    let of = |name: &str| (name.to_owned(), credentials.get(name).cloned().unwrap_or_default());
    let form = vec![("grant_type".to_owned(), "client_credentials".to_owned()), of(CLIENT_ID), of(CLIENT_SECRET)];
    let path = "/services/oauth2/token".to_owned();
    let ask = Ask { method: Method::POST, path, headers: Vec::new(), payload: Payload::Form(form) };
    let heard = wire.ask(ask, || json!({ "access_token": "…" })).await?;
    if heard.status == 429 || heard.status == 503 {
        return Err(heard.refusal());
    }
    // It is about us and not about the call, whatever it says: the call is kept.
    let token = heard.body["access_token"].as_str().filter(|_| heard.is_good());
    let refused = || again(Some(heard.status), format!("log in: it answers {}{}", heard.status, heard.words()));
    token.map(|token| (token.to_owned(), Timestamp::MAX)).ok_or_else(refused)
}

fn judge(heard: Heard) -> Result<Heard, Answer> {
    if heard.is_good() {
        return Ok(heard);
    }
    let code = heard.body.pointer("/0/errorCode").and_then(Value::as_str).unwrap_or_default();
    let cause = format!("it answers {} ({}){}", heard.status, short(code), heard.words());
    Err(match (heard.status, code) {
        (403, "REQUEST_LIMIT_EXCEEDED") => heard.limited(heard.retry_after.unwrap_or(LIMITED_FOR), cause),
        // Somebody else is at the contact just now.
        (400, "UNABLE_TO_LOCK_ROW") => again(Some(400), cause),
        (400, _) => hopeless(Some(400), cause),
        _ => heard.refusal(),
    })
}

/// Whether it refuses to have this field set.
fn is_about(heard: &Heard, field: &str) -> bool {
    heard.body.as_array().into_iter().flatten().any(|error| {
        error["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
            && (error["fields"].as_array().is_some_and(|fields| fields.iter().any(|name| name == field))
                || error["message"].as_str().is_some_and(|said| said.contains(field)))
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::activity::tests::activity;
    use super::*;

    fn fields(settings: Value, cdr: Value, who: Option<&str>) -> String {
        let settings: SalesforceSettings = serde_json::from_value(settings).expect("settings");
        let salesforce = Salesforce::parse(&settings).expect("good");
        serde_json::to_string_pretty(&salesforce.fields(&activity(cdr), who.map(str::to_owned))).expect("JSON")
    }

    #[test]
    fn an_answered_call_is_a_task_that_is_done() {
        expect![[r#"
            {
              "ActivityDate": "2026-11-21",
              "CallDisposition": "ANSWERED",
              "CallDurationInSeconds": 62,
              "CallObject": "call:1@sinch",
              "CallType": "Inbound",
              "Description": "From +14155550123 to +442071838750, 62 s\nBilled 120 s, 0.42 EUR\nReason CALLERHANGUP\nCall call:1@sinch",
              "Status": "Completed",
              "Subject": "Inbound call from +14155550123: answered",
              "TaskSubtype": "Call",
              "WhoId": "003xx000004TmiQAAS"
            }"#]].assert_eq(&fields(json!({}), json!({}), Some("003xx000004TmiQAAS")));
    }

    #[test]
    fn every_field_may_be_another() {
        let other = json!({
            "Subject": "Call of {{duration_minutes}} min", "CallDurationInSeconds": "{{billed_seconds}}",
            "Description": "", "Priority": "Low",
        });
        expect![[r#"
            {
              "ActivityDate": "2026-11-21",
              "CallDisposition": "BUSY",
              "CallDurationInSeconds": 120,
              "CallObject": "call:1@sinch",
              "CallType": "Inbound",
              "Priority": "Low",
              "Status": "Completed",
              "Subject": "Call of 2 min",
              "TaskSubtype": "Call"
            }"#]]
        .assert_eq(&fields(json!({ "fields": other }), json!({ "result": "BUSY" }), None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (settings, said) in [
            (json!({ "version": "62" }), "no version"),
            (json!({ "external_id": "a/b" }), "no name of a field"),
            (json!({ "fields": { "Subject": "{{titel}}" } }), "did you mean {{title}}?"),
        ] {
            let settings: SalesforceSettings = serde_json::from_value(settings).expect("settings");
            let why = Salesforce::parse(&settings).expect_err("refused");
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn errors_mean_what_salesforce_says() {
        let judged = |status, code: &str| {
            let body = json!([{ "errorCode": code, "message": "no" }]);
            judge(Heard { status, retry_after: None, body }).map(|heard| heard.status)
        };
        assert!(matches!(
            judged(403, "REQUEST_LIMIT_EXCEEDED"),
            Err(Answer::Limited { pause: LIMITED_FOR, status: 403, .. })
        ));
        assert!(matches!(judged(403, "INSUFFICIENT_ACCESS"), Err(Answer::Refused { .. })));
        assert!(matches!(judged(400, "UNABLE_TO_LOCK_ROW"), Err(Answer::Refused { .. })));
        assert!(matches!(judged(503, "SERVER_UNAVAILABLE"), Err(Answer::Refused { .. })));
        let Err(Answer::Hopeless { cause, .. }) = judged(400, "STRING_TOO_LONG") else { panic!("it is no use") };
        assert_eq!(cause, "it answers 400 (STRING_TOO_LONG): no");
        assert_eq!(judged(204, ""), Ok(204));
    }
}
