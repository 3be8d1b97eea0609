//! Menus in one chain: what the caller hears and what each key gives.
//!
//! ```
//! use proto::svaml::{Menu, RunMenu};
//! let menus = RunMenu::main(
//!     Menu::ask("Press 1 for sales, 2 for support, 3 for your account.")
//!         .key('1', "sales")
//!         .key('2', "support")
//!         .key_to('3', "account")
//!         .timeout_secs(7)
//!         .repeats(2),
//! )
//! .and("account", Menu::ask("Enter your account number.").digits(6));
//! assert_eq!(menus.menus[1].id, "account");
//! ```

use super::limits::{MENU_DIGITS_MAX, MENU_REPEATS_MAX, MENU_TIMEOUT_MAX_SECS, MENU_VOICE_MAX_SECS};
use super::options::prompt;
use super::{Menu, MenuOption, MenuTarget, Problem, RunMenu};

const MILLIS_A_SEC: u32 = 1_000;

impl Menu {
    /// A menu with this prompt: text is spoken, unless it begins with `http://`, `https://` or `#` (`#href[…]`,
    /// `#ssml[…]`).
    pub fn ask(text: impl Into<String>) -> Self {
        Self { id: RunMenu::MAIN.to_owned(), main_prompt: Some(prompt(text)), ..Self::default() }
    }

    /// This key (`0` to `9`, `#`, `*`) gives a value: a PIE brings it.
    #[must_use]
    pub fn key(self, key: char, value: impl AsRef<str>) -> Self {
        self.option(key, format!("return({})", value.as_ref()))
    }

    /// This key leads to another menu.
    #[must_use]
    pub fn key_to(self, key: char, menu: impl AsRef<str>) -> Self {
        self.option(key, format!("menu({})", menu.as_ref()))
    }

    /// Takes up to so many digits, 1 to 20; without keys the PIE brings the digits.
    #[must_use]
    pub fn digits(self, max: u32) -> Self {
        Self { max_digits: Some(max), ..self }
    }

    /// What is said when it is asked again.
    #[must_use]
    pub fn repeat_prompt(self, text: impl Into<String>) -> Self {
        Self { repeat_prompt: Some(prompt(text)), ..self }
    }

    /// How often it is asked again, 0 to 5.
    #[must_use]
    pub fn repeats(self, repeats: u32) -> Self {
        Self { repeats: Some(repeats), ..self }
    }

    /// Silence after which input ends, 1 to 30 seconds.
    #[must_use]
    pub fn timeout_secs(self, secs: u32) -> Self {
        Self { timeout_mills: Some(secs.saturating_mul(MILLIS_A_SEC)), ..self }
    }

    /// Spoken input in all, 1 to 60 seconds.
    #[must_use]
    pub fn max_timeout_secs(self, secs: u32) -> Self {
        Self { max_timeout_mills: Some(secs.saturating_mul(MILLIS_A_SEC)), ..self }
    }

    fn option(mut self, key: char, action: String) -> Self {
        self.options.push(MenuOption { dtmf: key.to_string(), action });
        self
    }
}

impl RunMenu {
    /// The id that one menu of every answer has; the caller begins there unless told otherwise.
    pub const MAIN: &str = "main";

    /// Begins with this menu.
    pub fn main(menu: Menu) -> Self {
        Self::default().and(Self::MAIN, menu)
    }

    /// Adds a menu that [`Menu::key_to`] leads to.
    #[must_use]
    pub fn and(mut self, id: impl Into<String>, menu: Menu) -> Self {
        self.menus.push(Menu { id: id.into(), ..menu });
        self
    }

    /// Begins with another menu than the main one.
    #[must_use]
    pub fn begin_with(self, id: impl Into<String>) -> Self {
        Self { main_menu: Some(id.into()), ..self }
    }

    /// Whether the caller may press before the prompt ends; Sinch's default is yes.
    #[must_use]
    pub fn barge(self, barge: bool) -> Self {
        Self { barge: Some(barge), ..self }
    }

    /// The language of the prompts.
    #[must_use]
    pub fn locale(self, locale: impl Into<String>) -> Self {
        Self { locale: Some(locale.into()), ..self }
    }

    /// Callers may speak, in this language. Sinch charges for each try.
    #[must_use]
    pub fn enable_voice(self, locale: impl Into<String>) -> Self {
        Self { enable_voice: Some(true), locale: Some(locale.into()), ..self }
    }

    /// What SVAML lets pass, and Sinch's own menu builder does not.
    pub(super) fn beyond_the_builder(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, menu) in self.menus.iter().enumerate() {
            let mut require = |right: bool, field: &str, what: &str| {
                if !right {
                    problems.push(Problem { at: format!("action.menus[{index}].{field}"), what: what.to_owned() });
                }
            };
            let within = |millis: Option<u32>, secs_max| {
                millis.is_none_or(|millis| (MILLIS_A_SEC..=secs_max * MILLIS_A_SEC).contains(&millis))
            };
            let digits = menu.max_digits.is_none_or(|digits| (1..=MENU_DIGITS_MAX).contains(&digits));
            require(menu.repeats.is_none_or(|n| n <= MENU_REPEATS_MAX), "repeats", "a menu is repeated 0 to 5 times");
            require(digits, "maxDigits", "a menu takes 1 to 20 digits");
            require(within(menu.timeout_mills, MENU_TIMEOUT_MAX_SECS), "timeoutMills", "silence lasts 1 to 30 seconds");
            require(
                within(menu.max_timeout_mills, MENU_VOICE_MAX_SECS),
                "maxTimeoutMills",
                "spoken input lasts 1 to 60 seconds",
            );
            for (option_index, option) in menu.options.iter().enumerate() {
                let Some(MenuTarget::Menu(text) | MenuTarget::Return(text)) = option.target() else { continue };
                let plain = !text.is_empty() && !text.contains(['(', ')']);
                require(plain, &format!("options[{option_index}].action"), "a key's value is text without brackets");
            }
        }
        problems
    }
}

/// One menu alone.
impl From<Menu> for RunMenu {
    fn from(menu: Menu) -> Self {
        Self::main(menu)
    }
}
