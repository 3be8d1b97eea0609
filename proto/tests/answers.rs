//! Every answer the builders can make: legal for its event, within the limits whenever its words are.
#![expect(clippy::expect_used, reason = "a test that cannot begin has failed")]

use std::collections::BTreeSet;

use expect_test::expect;
use proptest::prelude::*;
use proto::svaml::menu_template::{MENU_TEMPLATES, MenuTemplate};
use proto::svaml::{
    Ace, Action, Answer, Asks, Builder, ConnectConf, ConnectMxp, ConnectPstn, ConnectSip, ConnectStream, Dials, GoesOn,
    Ice, Menu, Park, Pie, RecordingOptions, RunMenu, Said,
};
use proto::{Kind, Svaml};

/// What chains are filled with.
#[derive(Debug, Clone)]
struct Words {
    text: String,
    cookie: (String, String),
    tones: String,
    number: String,
    user: String,
    address: String,
    url: String,
    music: String,
    conference: String,
    menu: String,
    key: char,
    value: String,
    reason: String,
    secs: u32,
    small: u32,
    times: usize,
}

impl Words {
    /// Words that stay within the limits.
    fn tame() -> impl Strategy<Value = Self> {
        let names = ("[ -~]{1,128}", "[a-z]{1,30}@[a-z.:0-9]{1,30}", "wss://[a-z/]{0,30}", "(ring|music[123])");
        let menus = ("\\PC{1,64}", "[0-9*#]", "[^()]{1,30}", "[A-Z][A-Z0-9_]{0,63}");
        let numbers = (1..=30_u32, 1..=5_u32, 0..=7_usize);
        let first = ("\\PC{1,600}", ("\\PC{1,50}", "[ -~]{0,80}"), "[0-9*#w]{1,20}", "\\+[1-9][0-9]{6,14}");
        (first, names, "\\PC{1,64}", menus, numbers).prop_map(
            |(
                (text, cookie, tones, number),
                (user, address, url, music),
                conference,
                (menu, key, value, reason),
                (secs, small, times),
            )| {
                let key = key.chars().next().expect("one key");
                // Brackets end an option's target, so an id that is led to holds none; `main` is taken.
                let menu = format!("m{menu}").replace(['(', ')'], "").chars().take(64).collect();
                // A key of 50 characters may be 200 bytes, and all of a call's cookies share 1,024.
                let times = if cookie.0.len() + cookie.1.len() > 140 { times.min(3) } else { times };
                Self {
                    text,
                    cookie,
                    tones,
                    number,
                    user,
                    address,
                    url,
                    music,
                    conference,
                    menu,
                    key,
                    value,
                    reason,
                    secs,
                    small,
                    times,
                }
            },
        )
    }

    /// Any words at all.
    fn wild() -> impl Strategy<Value = Self> {
        let texts = proptest::collection::vec(any::<String>(), 14);
        (texts, any::<char>(), any::<u32>(), any::<u32>(), 0..8_usize).prop_map(|(texts, key, secs, small, times)| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().expect("enough texts");
            Self {
                text: text(),
                cookie: (text(), text()),
                tones: text(),
                number: text(),
                user: text(),
                address: text(),
                url: text(),
                music: text(),
                conference: text(),
                menu: text(),
                key,
                value: text(),
                reason: text(),
                secs,
                small,
                times,
            }
        })
    }

    fn pstn(&self) -> ConnectPstn {
        ConnectPstn::to(&self.number)
            .cli("private")
            .max_duration_secs(self.secs)
            .dial_timeout_secs(self.secs)
            .dtmf(&self.tones)
            .amd_async()
    }

    fn menus(&self) -> RunMenu {
        let first = Menu::ask(&self.text)
            .key_to(self.key, &self.menu)
            .repeat_prompt(&self.text)
            .repeats(self.small)
            .timeout_secs(self.secs)
            .max_timeout_secs(self.secs);
        let second = Menu::ask(&self.text).key(self.key, &self.value).digits(self.small);
        RunMenu::main(first).and(&self.menu, second).begin_with(&self.menu).enable_voice("en-US").barge(false)
    }

    fn recording(&self) -> RecordingOptions {
        RecordingOptions::to(&self.url).credentials(&self.text).transcribe("en-US")
    }
}

fn instructions<E: Asks>(mut chain: Builder<E>, words: &Words) -> Builder<E> {
    for _ in 0..words.times {
        chain = chain
            .say(&words.text)
            .locale("sv-SE")
            .say_in("en-GB", &words.text)
            .play(&words.url)
            .play_files([&words.url, &words.text])
            .set_cookie(&words.cookie.0, &words.cookie.1);
    }
    chain.start_recording(words.recording()).stop_recording().start_recording(RecordingOptions::default())
}

fn anywhere<E: Asks>(chain: impl Fn() -> Builder<E>, words: &Words) -> Vec<Answer<E>> {
    vec![
        chain().hangup(),
        chain().connect_conf(ConnectConf::to(&words.conference).moh(&words.music)),
        chain().run_menu(words.menus()),
        chain().deny(&words.reason),
        Answer::deny(&words.reason),
    ]
}

fn dialling<E: Dials>(chain: impl Fn() -> Builder<E>, words: &Words) -> Vec<Answer<E>> {
    let chain = || chain().send_dtmf(&words.tones);
    let sip = ConnectSip::to(&words.address)
        .cli("private")
        .max_duration_secs(words.secs)
        .header("k", &words.value)
        .moh(&words.music)
        .transport("TLS");
    vec![
        chain().connect_pstn(words.pstn().suppress_callbacks()),
        chain().connect_pstn(words.number.as_str()),
        chain().reserve().connect_pstn(words.pstn()),
        chain().connect_sip(sip),
    ]
}

fn going_on<E: GoesOn>(chain: impl Fn() -> Builder<E>) -> Vec<Answer<E>> {
    vec![chain().go_on()]
}

fn ice(words: &Words) -> Vec<Answer<Ice>> {
    let chain = || instructions(Svaml::ice().answer(), words);
    let stream = ConnectStream::to(&words.url).sample_rate_hertz(16_000).max_duration_secs(words.secs).header("k", "v");
    let only_ice = vec![
        chain().reserve().connect_pstn(ConnectPstn::dialled()),
        chain().connect_mxp(ConnectMxp::to(&words.user).header("k", &words.value)),
        chain().connect_mxp(ConnectMxp::dialled()),
        chain().connect_stream(stream),
        chain().park(Park::intro(&words.text).hold(&words.url).max_duration_secs(words.secs)),
    ];
    [anywhere(chain, words), dialling(chain, words), only_ice].concat()
}

fn ace(words: &Words) -> Vec<Answer<Ace>> {
    let chain = || instructions(Svaml::ace(), words);
    [anywhere(chain, words), going_on(chain)].concat()
}

fn pie(words: &Words) -> Vec<Answer<Pie>> {
    let chain = || instructions(Svaml::pie(), words);
    [anywhere(chain, words), dialling(chain, words), going_on(chain)].concat()
}

/// What is wrong with them, after each was written and read again.
fn problems<E: Asks>(answers: &[Answer<E>]) -> Vec<String> {
    for svaml in answers.iter().filter_map(Answer::svaml) {
        assert_eq!(&serde_json::from_str::<Svaml>(&svaml.to_json()).expect("SVAML"), svaml);
    }
    let checked = answers.iter().filter_map(|answer| Some(format!("{}: {answer:?}", answer.check().err()?)));
    checked.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_within_the_limits_are_taken(words in Words::tame()) {
        let all = [problems(&ice(&words)), problems(&ace(&words)), problems(&pie(&words))].concat();
        prop_assert!(all.is_empty(), "{all:#?}");
    }

    #[test]
    fn answers_of_any_words_break_nothing_but_limits(words in Words::wild()) {
        for problem in [problems(&ice(&words)), problems(&ace(&words)), problems(&pie(&words))].concat() {
            prop_assert!(!problem.contains("may not answer") && !problem.contains("does not work"), "{problem}");
        }
    }
}

fn words() -> Words {
    let text = || "one".to_owned();
    Words {
        text: text(),
        cookie: (text(), text()),
        tones: "1w2#".to_owned(),
        number: "+46701234567".to_owned(),
        user: text(),
        address: "a@b.c".to_owned(),
        url: "wss://a.b".to_owned(),
        music: "ring".to_owned(),
        conference: text(),
        menu: text(),
        key: '1',
        value: text(),
        reason: "CLOSED".to_owned(),
        secs: 10,
        small: 2,
        times: 1,
    }
}

fn names<'a>(svamls: impl Iterator<Item = &'a Svaml>) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let (mut actions, mut instructions) = (BTreeSet::new(), BTreeSet::new());
    for svaml in svamls {
        actions.insert(svaml.action.name());
        instructions.extend(svaml.instructions.iter().map(|instruction| instruction.name()));
    }
    (actions, instructions)
}

fn svamls<E: Asks>(answers: Vec<Answer<E>>) -> Vec<Svaml> {
    answers.iter().filter_map(Answer::svaml).cloned().collect()
}

#[test]
fn builders_offer_all_that_sinch_takes_and_nothing_else() {
    let words = words();
    let answers =
        [(Kind::Ice, svamls(ice(&words))), (Kind::Ace, svamls(ace(&words))), (Kind::Pie, svamls(pie(&words)))];
    let every: Vec<&Svaml> = answers.iter().flat_map(|(_, svamls)| svamls).collect();
    let (actions, instructions) = names(every.iter().copied());
    assert_eq!((actions.len(), instructions.len()), (9, 7), "{actions:?} {instructions:?}");
    for (kind, offered) in &answers {
        let each = every.iter().flat_map(|svaml| {
            let alone = svaml
                .instructions
                .iter()
                .map(|instruction| Svaml { instructions: vec![instruction.clone()], action: Action::Hangup });
            alone.chain([Svaml::only(svaml.action.clone())])
        });
        let taken: Vec<Svaml> = each.filter(|svaml| svaml.check(*kind).is_ok()).collect();
        assert_eq!(names(offered.iter()), names(taken.iter()), "{kind}");
    }
}

#[test]
fn what_types_cannot_say_check_says() {
    let said = |checked: Result<(), proto::svaml::Problems>| checked.expect_err("a problem").to_string();
    let menu = Menu::ask("?").key('a', "(x)").repeats(6).digits(0).timeout_secs(31).max_timeout_secs(u32::MAX);
    let wrong = [
        said(Svaml::ice().deny("no credit").check()),
        said(Svaml::pie().reserve().connect_pstn(ConnectPstn::dialled()).check()),
        said(Svaml::ice().reserve().connect_pstn(ConnectPstn::to("+46701234567").suppress_callbacks()).check()),
        said(Svaml::ice().reserve().connect_pstn("0701234567").check()),
        said(Svaml::ice().say("").deny("CLOSED").check()),
        said(Svaml::ace().run_menu(menu).check()),
        said(Svaml::ice().run_menu(RunMenu::main(Menu::ask("?")).and("main", Menu::ask("?"))).check()),
    ];
    expect![[r#"
        reason: a code is 1 to 64 of A-Z, 0-9 and '_', beginning with a letter
        action.number: only an ICE has a dialled number to rate: name the number
        action.suppressCallbacks: a call without callbacks cannot be billed
        action.number: not an E.164 number: '+' and 7 to 15 digits
        instructions[0].text: there is nothing to say
        action.menus[0].options[0].dtmf: a key is of 0-9, # and *; action.menus[0].repeats: a menu is repeated 0 to 5 times; action.menus[0].maxDigits: a menu takes 1 to 20 digits; action.menus[0].timeoutMills: silence lasts 1 to 30 seconds; action.menus[0].maxTimeoutMills: spoken input lasts 1 to 60 seconds; action.menus[0].options[0].action: a key's value is text without brackets
        action.menus[1].id: two menus have this id
    "#]]
    .assert_eq(&(wrong.join("\n") + "\n"));
}

#[test]
fn a_recording_of_an_in_app_call_moves_into_the_action() {
    let json = |answer: Answer<Ice>| answer.svaml().expect("SVAML").to_json();
    let to_s3 = || Svaml::ice().say("Recorded.").start_recording(RecordingOptions::to("s3://calls"));
    expect![[r#"{"instructions":[{"name":"say","text":"Recorded."}],"action":{"name":"connectMxp","destination":{"type":"username","endpoint":"alice"},"record":true,"recordingOptions":{"destinationUrl":"s3://calls"}}}"#]].assert_eq(&json(to_s3().connect_mxp("alice")));
    assert!(!json(to_s3().stop_recording().connect_mxp("alice")).contains("ecording"));
    let own = ConnectMxp { record: Some(true), ..ConnectMxp::to("alice") };
    assert!(json(Svaml::ice().connect_mxp(own)).contains(r#""record":true"#), "what the author set stays");
}

#[test]
fn a_locale_holds_for_what_names_none() {
    let json = |svaml: Option<&Svaml>| svaml.expect("SVAML").to_json();
    let chain = || Svaml::ice().locale("sv-SE").play("#tts[Hej]");
    let pstn = ConnectPstn { locale: Some("en-GB".to_owned()), ..ConnectPstn::dialled() };
    let lines = [
        json(chain().run_menu(Menu::recording_consent()).svaml()),
        json(chain().run_menu(RunMenu::main(Menu::ask("https://a.b/c.mp3")).locale("en-GB")).svaml()),
        json(chain().park("Vänta.").svaml()),
        json(chain().connect_pstn(pstn).svaml()),
    ];
    expect![[r##"
        {"instructions":[{"name":"playFiles","ids":["#tts[Hej]"],"locale":"sv-SE"}],"action":{"name":"runMenu","locale":"sv-SE","menus":[{"id":"main","mainPrompt":"#tts[This call may be recorded. If you agree, press 1. If you do not agree, press 2.]","options":[{"dtmf":"1","action":"return(consent)"},{"dtmf":"2","action":"return(no_consent)"}]}]}}
        {"instructions":[{"name":"playFiles","ids":["#tts[Hej]"],"locale":"sv-SE"}],"action":{"name":"runMenu","locale":"en-GB","menus":[{"id":"main","mainPrompt":"https://a.b/c.mp3"}]}}
        {"instructions":[{"name":"playFiles","ids":["#tts[Hej]"],"locale":"sv-SE"}],"action":{"name":"park","locale":"sv-SE","introPrompt":"#tts[Vänta.]"}}
        {"instructions":[{"name":"playFiles","ids":["#tts[Hej]"],"locale":"sv-SE"}],"action":{"name":"connectPstn","locale":"en-GB"}}
    "##]]
    .assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn an_answer_is_one_of_three_things() {
    let (number, hangup) = ("+46701234567", Svaml::only(Action::Hangup));
    let pstn = Svaml::only(Action::ConnectPstn(ConnectPstn::to(number)));
    assert_eq!(Svaml::ice().connect_pstn(number).into_said(), Said::Answer(pstn.clone()));
    assert_eq!(Svaml::ice().reserve().connect_pstn(number).into_said(), Said::Reserve(pstn));
    assert_eq!(Svaml::pie().hangup().into_said(), Said::Answer(hangup));
    let denied = Said::Deny { reason: "NO_CREDIT".to_owned(), svaml: None };
    assert_eq!(Answer::<Ace>::deny("NO_CREDIT").into_said(), denied);
}

#[test]
fn each_template_has_a_menu_of_the_same_keys() {
    let menus = [
        Menu::business("{} & {}"),
        Menu::yes_no("Go?"),
        Menu::language([("en-US", "English"), ("sv-SE", "Swedish")]),
        Menu::after_hours("{}", "8 to 18"),
        Menu::recording_consent(),
        Menu::numeric_input("Your code?", 4),
        Menu::callback_request("ten minutes"),
        Menu::customer_service(),
        Menu::satisfaction_survey(),
    ];
    assert_eq!(menus.len(), MENU_TEMPLATES.len());
    let mut prompts = String::new();
    for (template, menu) in MENU_TEMPLATES.iter().zip(menus) {
        Svaml::ice().run_menu(menu.clone()).check().expect(template.word);
        let keys: Vec<(String, String)> =
            menu.options.iter().map(|option| (option.dtmf.clone(), option.action.clone())).collect();
        let table = |keys: &[(char, &str)]| -> Vec<(String, String)> {
            keys.iter().map(|(key, value)| (key.to_string(), format!("return({value})"))).collect()
        };
        match template.word {
            "language" => assert_eq!(keys, table(&[('1', "en-US"), ('2', "sv-SE")])),
            word => assert_eq!(keys, table(template.keys), "{word}"),
        }
        prompts += &format!("{}: {}\n", template.word, menu.main_prompt.expect("a prompt"));
    }
    assert_eq!(MenuTemplate::CHOICE_KEYS.len(), 9);
    expect![[r#"
        business: #tts[Thank you for calling {} & {}. For sales, press 1. For support, press 2. For the operator, press 0.]
        yes_no: #tts[Go? For yes, press 1. For no, press 2.]
        language: #tts[For English, press 1. For Swedish, press 2.]
        after_hours: #tts[Thank you for calling {}. We are closed now. Our hours are 8 to 18. To leave a message, press 1. To hear about our website, press 2. In an emergency, press 3.]
        recording_consent: #tts[This call may be recorded. If you agree, press 1. If you do not agree, press 2.]
        numeric_input: #tts[Your code?]
        callback_request: #tts[The wait is ten minutes. To hold the line, press 1. To be called back, press 2.]
        customer_service: #tts[For billing, press 1. For technical support, press 2. For a new service, press 3. For an agent, press 0.]
        satisfaction_survey: #tts[How was our service? For excellent, press 1. For good, press 2. For fair, press 3. For poor, press 4.]
    "#]]
    .assert_eq(&prompts);
}
