//! Menus that are asked everywhere: `Menu::business("Acme")`. A template brings a prompt, and keys with the values that
//! Sinch's own menu templates give. Policy files (`main: { business: Acme }`) read the same table.

use super::Menu;

/// A template, and what it brings.
#[derive(Debug)]
pub struct MenuTemplate {
    /// Its name in policy files.
    pub word: &'static str,
    pub wants: Wants,
    /// Each `{}` is a text the author gives.
    prompt: &'static str,
    /// Keys and the values they give.
    pub keys: &'static [(char, &'static str)],
}

/// What the author of a policy file writes behind the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// `recording_consent: true`.
    True,
    Text,
    /// `{ company: Acme, hours: "8 to 18" }`, both for the prompt.
    CompanyAndHours,
    /// `{ en-US: English, sv-SE: Swedish }`: what is returned, and what is said. Keys are given in this order.
    Choices,
    /// `{ prompt: "Your code?", digits: 4 }`.
    PromptAndDigits,
}

/// Every template.
pub const MENU_TEMPLATES: &[MenuTemplate] = &[
    BUSINESS,
    YES_NO,
    LANGUAGE,
    AFTER_HOURS,
    RECORDING_CONSENT,
    NUMERIC_INPUT,
    CALLBACK_REQUEST,
    CUSTOMER_SERVICE,
    SATISFACTION_SURVEY,
];

const BUSINESS: MenuTemplate = MenuTemplate {
    word: "business",
    wants: Wants::Text,
    prompt: "Thank you for calling {}. For sales, press 1. For support, press 2. For the operator, press 0.",
    keys: &[('1', "sales"), ('2', "support"), ('0', "operator")],
};
const YES_NO: MenuTemplate = MenuTemplate {
    word: "yes_no",
    wants: Wants::Text,
    prompt: "{} For yes, press 1. For no, press 2.",
    keys: &[('1', "yes"), ('2', "no")],
};
/// The prompt is said for each choice, with its name and key.
const LANGUAGE: MenuTemplate =
    MenuTemplate { word: "language", wants: Wants::Choices, prompt: "For {}, press {}.", keys: &[] };
const AFTER_HOURS: MenuTemplate = MenuTemplate {
    word: "after_hours",
    wants: Wants::CompanyAndHours,
    prompt: "Thank you for calling {}. We are closed now. Our hours are {}. To leave a message, press 1. To hear about our website, press 2. In an emergency, press 3.",
    keys: &[('1', "voicemail"), ('2', "website"), ('3', "emergency")],
};
const RECORDING_CONSENT: MenuTemplate = MenuTemplate {
    word: "recording_consent",
    wants: Wants::True,
    prompt: "This call may be recorded. If you agree, press 1. If you do not agree, press 2.",
    keys: &[('1', "consent"), ('2', "no_consent")],
};
const NUMERIC_INPUT: MenuTemplate =
    MenuTemplate { word: "numeric_input", wants: Wants::PromptAndDigits, prompt: "{}", keys: &[] };
const CALLBACK_REQUEST: MenuTemplate = MenuTemplate {
    word: "callback_request",
    wants: Wants::Text,
    prompt: "The wait is {}. To hold the line, press 1. To be called back, press 2.",
    keys: &[('1', "hold"), ('2', "callback")],
};
const CUSTOMER_SERVICE: MenuTemplate = MenuTemplate {
    word: "customer_service",
    wants: Wants::True,
    prompt: "For billing, press 1. For technical support, press 2. For a new service, press 3. For an agent, press 0.",
    keys: &[('1', "billing"), ('2', "technical"), ('3', "new_service"), ('0', "agent")],
};
const SATISFACTION_SURVEY: MenuTemplate = MenuTemplate {
    word: "satisfaction_survey",
    wants: Wants::True,
    prompt: "How was our service? For excellent, press 1. For good, press 2. For fair, press 3. For poor, press 4.",
    keys: &[('1', "excellent"), ('2', "good"), ('3', "fair"), ('4', "poor")],
};

impl MenuTemplate {
    /// The keys that choices get, in this order.
    pub const CHOICE_KEYS: [char; 9] = ['1', '2', '3', '4', '5', '6', '7', '8', '9'];

    /// The prompt with the author's texts in their places.
    pub fn prompt(&self, texts: &[&str]) -> String {
        let mut parts = self.prompt.split("{}");
        let mut prompt = parts.next().unwrap_or_default().to_owned();
        for (text, part) in texts.iter().zip(parts) {
            prompt.push_str(text);
            prompt.push_str(part);
        }
        prompt
    }

    /// The prompt for choices, each with what is said for it.
    pub fn choices_prompt<'t>(&self, said: impl IntoIterator<Item = &'t str>) -> String {
        let sentence = |(said, key): (&str, char)| self.prompt(&[said, key.encode_utf8(&mut [0; 4])]);
        said.into_iter().zip(Self::CHOICE_KEYS).map(sentence).collect::<Vec<_>>().join(" ")
    }

    fn menu(&self, texts: &[&str]) -> Menu {
        let keys = |menu: Menu, (key, value): &(char, &str)| menu.key(*key, value);
        self.keys.iter().fold(Menu::ask(self.prompt(texts)), keys)
    }
}

impl Menu {
    /// Gives `sales`, `support` or `operator`.
    pub fn business(company: &str) -> Self {
        BUSINESS.menu(&[company])
    }

    /// Gives `yes` or `no`.
    ///
    /// ```
    /// let menu = proto::svaml::Menu::yes_no("Shall we call you?").repeats(1);
    /// assert_eq!(menu.main_prompt.as_deref(), Some("#tts[Shall we call you? For yes, press 1. For no, press 2.]"));
    /// ```
    pub fn yes_no(question: &str) -> Self {
        YES_NO.menu(&[question])
    }

    /// Gives the first of the pair the caller chose; the second is what is said. One to nine choices fit:
    ///
    /// ```
    /// let menu = proto::svaml::Menu::language([("en-US", "English"), ("sv-SE", "Swedish")]);
    /// assert_eq!(menu.main_prompt.as_deref(), Some("#tts[For English, press 1. For Swedish, press 2.]"));
    /// ```
    /// ```compile_fail
    /// proto::svaml::Menu::language([("en-US", "English"); 10]);
    /// ```
    pub fn language<const N: usize>(choices: [(&str, &str); N]) -> Self {
        const { assert!(1 <= N && N <= MenuTemplate::CHOICE_KEYS.len(), "a menu offers 1 to 9 languages") };
        let menu = Self::ask(LANGUAGE.choices_prompt(choices.iter().map(|(_, said)| *said)));
        choices.iter().zip(MenuTemplate::CHOICE_KEYS).fold(menu, |menu, ((value, _), key)| menu.key(key, value))
    }

    /// Gives `voicemail`, `website` or `emergency`.
    pub fn after_hours(company: &str, hours: &str) -> Self {
        AFTER_HOURS.menu(&[company, hours])
    }

    /// Gives `consent` or `no_consent`.
    pub fn recording_consent() -> Self {
        RECORDING_CONSENT.menu(&[])
    }

    /// Gives up to so many digits.
    pub fn numeric_input(text: &str, digits_max: u32) -> Self {
        NUMERIC_INPUT.menu(&[text]).digits(digits_max)
    }

    /// Gives `hold` or `callback`.
    pub fn callback_request(wait: &str) -> Self {
        CALLBACK_REQUEST.menu(&[wait])
    }

    /// Gives `billing`, `technical`, `new_service` or `agent`.
    pub fn customer_service() -> Self {
        CUSTOMER_SERVICE.menu(&[])
    }

    /// Gives `excellent`, `good`, `fair` or `poor`.
    pub fn satisfaction_survey() -> Self {
        SATISFACTION_SURVEY.menu(&[])
    }
}
