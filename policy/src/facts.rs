//! What a decision is made from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proto::callback::{Amd, Common, Details, Endpoint, KeyValue, MenuResult, Money};
use proto::{AppName, Callback, WalletId};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Map, Value as Json};

use crate::live_list::LiveLists;
use crate::policy::Policy;

/// Everything a policy may look at. The worker gathers it; [`crate::Policy::needs`] says what it can leave out.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub app: AppFacts<'a>,
    pub callback: &'a Callback,
    /// `now` in an expression: whole seconds since 1970.
    pub now: Timestamp,
    /// What earlier rules of this call remembered.
    pub memory: &'a BTreeMap<String, String>,
    /// The wallet that [`crate::Policy::wallet`] names.
    pub wallet: Option<WalletFacts>,
    /// The price of the dialled number.
    pub price: Option<PriceFacts>,
    /// Variables that the operator lets policies see. Only those an expression names are recorded.
    pub env: &'a BTreeMap<String, String>,
    /// The live lists that [`crate::Policy::live_lists`] names.
    pub lists: &'a LiveLists,
}

/// The Sinch application of the call.
#[derive(Debug, Clone, Copy)]
pub struct AppFacts<'a> {
    pub name: &'a AppName,
    /// Who pays when the policy does not say.
    pub wallet: &'a WalletId,
}

/// `wallet` in an expression. Amounts are whole micro-units; `money('1.90')` writes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletFacts {
    pub available_micros: i64,
    pub currency: String,
}

/// `price` in an expression. Amounts are whole micro-units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFacts {
    pub destination: String,
    /// The prefix of the deck that fits.
    pub prefix: String,
    pub per_minute_micros: i64,
    pub connect_fee_micros: i64,
    pub currency: String,
}

impl Facts<'_> {
    /// The number or name that was dialled, for a call that comes in.
    pub(crate) fn dialled(&self) -> Option<&str> {
        match &self.callback.details {
            Details::Ice(ice) => ice.dialled(),
            Details::Ace(_) | Details::Pie(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => None,
        }
    }

    /// The facts as they are recorded: what expressions see, letter for letter. Of memory, wallet and price an empty
    /// record says that there was none, and no record that nobody looked.
    pub(crate) fn to_json(&self, policy: &Policy) -> Map<String, Json> {
        let needs = policy.needs(self.callback.kind());
        let mut facts = Map::new();
        facts.insert("call".to_owned(), Json::Object(self.call(needs.memory)));
        if let Details::Pie(pie) = &self.callback.details {
            facts.insert("menu".to_owned(), Json::Object(menu(pie.menu_result.as_ref())));
        }
        facts
            .insert("app".to_owned(), record([("name", self.app.name.as_str()), ("wallet", self.app.wallet.as_str())]));
        facts.insert("now".to_owned(), Json::from(self.now.as_second()));
        if let Some(wallet) = &self.wallet {
            let mut fields = Map::new();
            fields.insert("available".to_owned(), Json::from(wallet.available_micros));
            fields.insert("currency".to_owned(), Json::from(wallet.currency.as_str()));
            facts.insert("wallet".to_owned(), Json::Object(fields));
        } else if needs.wallet {
            facts.insert("wallet".to_owned(), Json::Object(Map::new()));
        }
        if let Some(price) = &self.price {
            let mut fields = Map::new();
            fields.insert("destination".to_owned(), Json::from(price.destination.as_str()));
            fields.insert("prefix".to_owned(), Json::from(price.prefix.as_str()));
            fields.insert("perMinute".to_owned(), Json::from(price.per_minute_micros));
            fields.insert("connectFee".to_owned(), Json::from(price.connect_fee_micros));
            fields.insert("currency".to_owned(), Json::from(price.currency.as_str()));
            facts.insert("price".to_owned(), Json::Object(fields));
        } else if needs.price {
            facts.insert("price".to_owned(), Json::Object(Map::new()));
        }
        let open: Map<String, Json> =
            policy.hours.at(self.now).map(|(name, open)| (name.to_owned(), Json::Bool(open))).collect();
        if !open.is_empty() {
            facts.insert("hours".to_owned(), Json::Object(open));
        }
        if !policy.env_names.is_empty() {
            let known = policy.env_names.iter().filter_map(|name| self.env.get_key_value(name));
            let env = known.map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect();
            facts.insert("env".to_owned(), Json::Object(env));
        }
        facts
    }

    fn call(&self, memory: bool) -> Map<String, Json> {
        let mut call = common(&self.callback.common);
        call.insert("event".to_owned(), Json::from(self.callback.kind().as_str()));
        if memory || !self.memory.is_empty() {
            let memory = self.memory.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
            call.insert("memory".to_owned(), Json::Object(memory));
        }
        match &self.callback.details {
            Details::Ice(ice) => {
                put(&mut call, "cli", ice.cli.as_deref());
                if let Some(to) = &ice.to {
                    call.insert("to".to_owned(), endpoint(to));
                }
                put_folded(&mut call, "domain", ice.domain.as_deref());
                put_folded(&mut call, "originationType", ice.origination_type.as_deref());
                put(&mut call, "duration", ice.duration);
                put(&mut call, "rdnis", ice.rdnis.as_deref());
                if let Some(rate) = &ice.user_rate {
                    call.insert("userRate".to_owned(), money(rate));
                }
                call.insert("callHeaders".to_owned(), pairs(&ice.call_headers));
                put(&mut call, "callResourceUrl", ice.call_resource_url.as_deref());
            }
            Details::Ace(ace) => {
                if let Some(detection) = &ace.amd {
                    call.insert("amd".to_owned(), amd(detection));
                }
                put(&mut call, "callResourceUrl", ace.call_resource_url.as_deref());
            }
            Details::Pie(pie) => put(&mut call, "reference", pie.reference.as_deref()),
            Details::Dice(dice) => {
                put(&mut call, "result", dice.result.as_deref());
                put(&mut call, "reason", dice.reason.as_deref());
                put(&mut call, "duration", dice.duration_secs);
                put(&mut call, "from", dice.from.as_deref());
                if let Some(to) = &dice.to {
                    call.insert("to".to_owned(), endpoint(to));
                }
                if let Some(debit) = &dice.debit {
                    call.insert("debit".to_owned(), money(debit));
                }
                if let Some(rate) = &dice.user_rate {
                    call.insert("userRate".to_owned(), money(rate));
                }
                call.insert("callHeaders".to_owned(), pairs(&dice.call_headers));
            }
            Details::Notify(notify) => {
                put_folded(&mut call, "type", notify.notify_type.as_deref());
                put(&mut call, "destination", notify.destination.as_deref());
                if let Some(detection) = &notify.amd {
                    call.insert("amd".to_owned(), amd(detection));
                }
                put(&mut call, "errorCode", notify.error_code);
                put(&mut call, "errorMsg", notify.error_msg.as_deref());
            }
            Details::Unknown { .. } => {}
        }
        call
    }
}

fn common(common: &Common) -> Map<String, Json> {
    let mut call = Map::new();
    put(&mut call, "id", common.call.as_ref().map(|id| id.as_str()));
    put(&mut call, "conferenceId", common.conference_id.as_deref());
    call.insert("timestamp".to_owned(), Json::from(common.timestamp_text.as_str()));
    put(&mut call, "version", common.version);
    put(&mut call, "custom", common.custom.as_deref());
    put(&mut call, "applicationKey", common.application_key.as_ref().map(|key| key.as_str()));
    put(&mut call, "user", common.user.as_deref());
    call.insert("cookies".to_owned(), pairs(&common.cookies));
    call
}

/// Always all four, so that `menu.value == 'sales'` is false and no error when the caller pressed nothing.
fn menu(result: Option<&MenuResult>) -> Map<String, Json> {
    let mut menu = Map::new();
    let field = |field: fn(&MenuResult) -> Option<&str>| Json::from(result.and_then(field).unwrap_or_default());
    menu.insert("id".to_owned(), field(|result| result.menu_id.as_deref()));
    menu.insert("type".to_owned(), field(|result| result.kind.as_deref()));
    menu.insert("value".to_owned(), field(|result| result.value.as_deref()));
    menu.insert("inputMethod".to_owned(), field(|result| result.input_method.as_deref()));
    menu
}

fn endpoint(endpoint: &Endpoint) -> Json {
    let mut fields = Map::new();
    put_folded(&mut fields, "type", endpoint.kind.as_deref());
    put(&mut fields, "endpoint", endpoint.endpoint.as_deref());
    Json::Object(fields)
}

fn amd(amd: &Amd) -> Json {
    let mut fields = Map::new();
    put(&mut fields, "status", amd.status.as_deref());
    put(&mut fields, "reason", amd.reason.as_deref());
    put(&mut fields, "duration", amd.duration);
    Json::Object(fields)
}

fn money(money: &Money) -> Json {
    let mut fields = Map::new();
    put(&mut fields, "currencyId", money.currency_id.as_deref());
    put(&mut fields, "amount", money.amount.and_then(micros));
    Json::Object(fields)
}

/// A decimal amount as whole micro-units; `None` where it has more than six decimals or is out of range.
pub(crate) fn micros(amount: Decimal) -> Option<i64> {
    let micros = amount.checked_mul(Decimal::from(1_000_000))?;
    if micros.fract().is_zero() { micros.to_i64() } else { None }
}

fn pairs(pairs: &[KeyValue]) -> Json {
    Json::Object(
        pairs.iter().map(|pair| (pair.key.clone(), Json::from(pair.value.as_deref().unwrap_or_default()))).collect(),
    )
}

fn record<const N: usize>(fields: [(&str, &str); N]) -> Json {
    Json::Object(fields.into_iter().map(|(name, text)| (name.to_owned(), Json::from(text))).collect())
}

/// A field that is absent when it has no value: `has()` then says so.
fn put(map: &mut Map<String, Json>, name: &str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// Sinch writes these words in any case; conditions compare with lower case.
fn put_folded(map: &mut Map<String, Json>, name: &str, value: Option<&str>) {
    put(map, name, value.map(str::to_ascii_lowercase));
}
