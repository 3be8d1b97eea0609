//! What a handler gives back.

use std::marker::PhantomData;

use super::builder::{Asks, Ice};
use super::limits::REASON_MAX_CHARS;
use super::{Action, Problem, Problems, Svaml};

/// A finished answer to `E`: [`Ice`], [`Ace`](super::Ace) or [`Pie`](super::Pie).
///
/// ```
/// use proto::{Callback, Svaml, svaml::{Answer, Ice}};
/// fn ice(call: &Callback) -> Answer<Ice> {
///     match call.common.user.as_deref() {
///         Some("alice") => Svaml::ice().reserve().connect_pstn("+46701234567"),
///         Some(_) => Svaml::ice().connect_mxp("reception"),
///         None => Answer::deny("NOT_ALLOWLISTED"),
///     }
/// }
/// ```
#[must_use = "an answer is given by returning it"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<E> {
    said: Said,
    event: PhantomData<E>,
}

/// An answer taken apart, for whoever carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// This, at no cost to a wallet.
    Answer(Svaml),
    /// This, once credit is held. The action is `connectPstn`.
    Reserve(Svaml),
    /// No, for this reason; without words of its own the defaults for the reason are spoken.
    Deny { reason: String, svaml: Option<Svaml> },
}

impl<E: Asks> Answer<E> {
    pub(super) fn new(said: Said) -> Self {
        Self { said, event: PhantomData }
    }

    /// Refuses with a code, in the default words for it; see [`Builder::deny`](super::Builder::deny).
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::new(Said::Deny { reason: reason.into(), svaml: None })
    }

    /// Checks what types cannot: numbers, lengths, and that menus hang together.
    ///
    /// ```
    /// use proto::{Svaml, svaml::Menu};
    /// let wrong = Svaml::ice().run_menu(Menu::ask("Press 1.").key_to('1', "sales")).check();
    /// assert_eq!(
    ///     wrong.map_err(|problems| problems.to_string()),
    ///     Err("action.menus[0].options[0].action: there is no menu with this id".to_owned())
    /// );
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong, not just the first.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = self.svaml().and_then(|svaml| svaml.check(E::KIND).err()).map_or_else(Vec::new, |all| all.0);
        let mut wrong = |at: &str, what: &str| problems.push(Problem { at: at.to_owned(), what: what.to_owned() });
        match &self.said {
            Said::Answer(_) => {}
            Said::Reserve(svaml) => {
                let connect = svaml.action.connect_pstn();
                if connect.is_some_and(|connect| connect.suppress_callbacks == Some(true)) {
                    wrong("action.suppressCallbacks", "a call without callbacks cannot be billed");
                }
                if connect.is_some_and(|connect| connect.number.is_none()) && E::KIND != Ice::KIND {
                    wrong("action.number", "only an ICE has a dialled number to rate: name the number");
                }
            }
            Said::Deny { reason, .. } if !is_code(reason) => {
                wrong("reason", "a code is 1 to 64 of A-Z, 0-9 and '_', beginning with a letter");
            }
            Said::Deny { .. } => {}
        }
        if let Some(Svaml { action: Action::RunMenu(run), .. }) = self.svaml() {
            problems.extend(run.beyond_the_builder());
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// The SVAML; `None` for a refusal in default words.
    pub fn svaml(&self) -> Option<&Svaml> {
        match &self.said {
            Said::Answer(svaml) | Said::Reserve(svaml) => Some(svaml),
            Said::Deny { svaml, .. } => svaml.as_ref(),
        }
    }

    /// Credit is to be held before this is answered.
    pub fn reserves(&self) -> bool {
        matches!(self.said, Said::Reserve(_))
    }

    /// Why the call is refused, if it is.
    pub fn reason(&self) -> Option<&str> {
        match &self.said {
            Said::Answer(_) | Said::Reserve(_) => None,
            Said::Deny { reason, .. } => Some(reason),
        }
    }

    /// Takes the answer apart. It is as it was built: [`check`](Self::check) first.
    pub fn into_said(self) -> Said {
        self.said
    }
}

fn is_code(reason: &str) -> bool {
    let letters = reason.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    letters && reason.starts_with(|first: char| first.is_ascii_uppercase()) && reason.len() <= REASON_MAX_CHARS
}
