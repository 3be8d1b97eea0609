//! What happens in a menu: prompts, keys, spoken words, repeats, sub-menus.

use std::collections::VecDeque;

use proto::svaml::{Menu, MenuTarget, RunMenu};

use crate::bodies::{InputMethod, MenuResult, MenuResultKind};
use crate::prompt::{self, Heard};
use crate::report::{Ending, What};
use crate::script::Input;
use crate::timeline::Timeline;

const MAIN_MENU: &str = "main";
const TIMEOUT_DEFAULT_MS: u32 = 5_000;
/// The longest the platform listens to words.
const VOICE_TIMEOUT_DEFAULT_MS: u32 = 20_000;
/// The default of the server SDK, the one source that states one.
const REPEATS_DEFAULT: u32 = 3;
/// No caller hears more of a menu than this, whatever it says.
const REPEATS_MAX: u32 = 20;
/// From the moment a caller may press to the first key, and from key to key.
pub(crate) const KEY_MS: u64 = 1_000;

/// Lets the caller use the menu until it has a result.
///
/// # Errors
/// The ending, when the call ends meanwhile.
pub(crate) fn run(run: &RunMenu, inputs: &mut VecDeque<Input>, line: &mut Timeline<'_>) -> Result<MenuResult, Ending> {
    let mut id = run.main_menu.as_deref().unwrap_or(MAIN_MENU);
    loop {
        let Some(menu) = run.menus.iter().find(|menu| menu.id == id) else {
            return Ok(result(id, MenuResultKind::Error));
        };
        match visit(menu, run, inputs, line)? {
            Left::Result(result) => return Ok(result),
            // Each visit takes an input, and silence never leads to another menu: the loop ends.
            Left::For(next) => id = next,
        }
    }
}

/// How a visit to one menu ended.
enum Left<'a> {
    For(&'a str),
    Result(MenuResult),
}

impl Left<'_> {
    fn of(menu: &Menu, kind: MenuResultKind, value: &str, input_method: InputMethod) -> Self {
        Self::Result(MenuResult { menu_id: menu.id.clone(), kind, value: value.to_owned(), input_method })
    }
}

fn visit<'a>(
    menu: &'a Menu,
    run: &RunMenu,
    inputs: &mut VecDeque<Input>,
    line: &mut Timeline<'_>,
) -> Result<Left<'a>, Ending> {
    let repeats = menu.repeats.unwrap_or(REPEATS_DEFAULT).min(REPEATS_MAX);
    let barge = run.barge.unwrap_or(true);
    let mut failure = MenuResultKind::Timeout;
    for round in 0..=repeats {
        let main = menu.main_prompt.as_deref();
        let prompt = if round == 0 { main } else { menu.repeat_prompt.as_deref().or(main) }.unwrap_or_default();
        let left = match inputs.pop_front().unwrap_or(Input::Silence) {
            Input::HangUp => {
                line.pass(KEY_MS)?;
                return Ok(Left::Result(result(&menu.id, MenuResultKind::Hangup)));
            }
            Input::Digits(keys) => {
                listen(prompt, barge, line)?;
                let taken = taken(menu, &keys);
                line.pass(KEY_MS * taken.chars().count() as u64)?;
                line.note(What::Pressed { digits: taken.to_owned() });
                outcome(menu, taken, InputMethod::Dtmf).ok_or(MenuResultKind::InvalidInput)
            }
            Input::Words(words) if run.enable_voice == Some(true) => {
                listen(prompt, barge, line)?;
                let length_ms = Heard::speech(&words).length_ms;
                let listens_ms = menu.max_timeout_mills.unwrap_or(VOICE_TIMEOUT_DEFAULT_MS).into();
                line.pass(length_ms.min(listens_ms))?;
                let understood = spoken(menu, &words).filter(|_| length_ms <= listens_ms);
                line.note(What::Said { words });
                understood.ok_or(MenuResultKind::InvalidInput)
            }
            // Nobody listens to words where voice is off.
            unheard @ (Input::Silence | Input::Words(_)) => {
                hear(prompt, line)?;
                if let Input::Words(words) = unheard {
                    line.note(What::Said { words });
                }
                line.pass(menu.timeout_mills.unwrap_or(TIMEOUT_DEFAULT_MS).into())?;
                line.note(What::Silent);
                Err(MenuResultKind::Timeout)
            }
        };
        match left {
            Ok(left) => return Ok(left),
            Err(kind) => failure = kind,
        }
    }
    Ok(Left::Result(result(&menu.id, failure)))
}

/// The keys the menu takes. One that does not say how many takes one key when it has options, else all.
fn taken<'k>(menu: &Menu, keys: &'k str) -> &'k str {
    let longest_option = menu.options.iter().map(|option| option.dtmf.len()).max();
    collected(keys, menu.max_digits.map(|max| max as usize).or(longest_option).unwrap_or(keys.len()))
}

/// The keys one collection takes: up to the most there may be, and no further than a `#` that ends the input.
pub(crate) fn collected(keys: &str, max_digits: usize) -> &str {
    let end = keys.find('#').map_or(keys.len(), |hash| hash + 1);
    keys.get(..end.min(max_digits)).unwrap_or(keys)
}

/// What the keys lead to; `None` when to nothing. Without options, or with more than one digit to collect, keys that
/// are no option are a sequence.
fn outcome<'a>(menu: &'a Menu, keys: &str, method: InputMethod) -> Option<Left<'a>> {
    let digits = keys.trim_end_matches('#');
    let option = menu.options.iter().find(|option| option.dtmf == keys || option.dtmf == digits);
    if let Some(option) = option {
        return Some(match option.target()? {
            MenuTarget::Menu(id) => Left::For(id),
            MenuTarget::Return(value) => Left::of(menu, MenuResultKind::Return, value, method),
        });
    }
    let collects = menu.options.is_empty() || menu.max_digits.is_some_and(|max| max > 1);
    (collects && !digits.is_empty()).then(|| Left::of(menu, MenuResultKind::Sequence, digits, method))
}

/// What words lead to. SVAML has no list of words, so an option is meant by its key or by what it leads to (`sales` of
/// `return(sales)`); a menu without options takes any words. Nothing public says more.
fn spoken<'a>(menu: &'a Menu, words: &str) -> Option<Left<'a>> {
    let digits: String = words.split_whitespace().collect();
    if digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return outcome(menu, taken(menu, &digits), InputMethod::Voice);
    }
    let meant = menu.options.iter().filter_map(|option| option.target()).find(|target| match target {
        MenuTarget::Menu(name) | MenuTarget::Return(name) => name.eq_ignore_ascii_case(words),
    });
    match meant {
        Some(MenuTarget::Menu(id)) => Some(Left::For(id)),
        Some(MenuTarget::Return(value)) => Some(Left::of(menu, MenuResultKind::Return, value, InputMethod::Voice)),
        None if menu.options.is_empty() => Some(Left::of(menu, MenuResultKind::Sequence, words, InputMethod::Voice)),
        None => None,
    }
}

/// The caller hears the prompt out.
fn hear(prompts: &str, line: &mut Timeline<'_>) -> Result<(), Ending> {
    for part in prompt::parts(prompts) {
        line.hear(part)?;
    }
    Ok(())
}

/// A caller who knows what to press waits for the prompt's end only where keys do not cut it short.
fn listen(prompts: &str, barge: bool, line: &mut Timeline<'_>) -> Result<(), Ending> {
    if !barge {
        return hear(prompts, line);
    }
    for part in prompt::parts(prompts) {
        line.note(What::Heard { text: part.text });
    }
    Ok(())
}

/// A menu that ended without input.
fn result(menu_id: &str, kind: MenuResultKind) -> MenuResult {
    MenuResult { menu_id: menu_id.to_owned(), kind, value: String::new(), input_method: InputMethod::Dtmf }
}
