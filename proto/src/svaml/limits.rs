//! How much an answer may hold. Each limit is Sinch's own where its documents or SDKs give one.

/// The longest call that is connected, in seconds: four hours.
pub const CALL_MAX_SECS: u32 = 14_400;
/// The longest a call may be parked, in seconds.
pub const PARK_MAX_SECS: u32 = 600;
/// The longest text of one `say`, in characters.
pub const SAY_MAX_CHARS: usize = 600;
/// Texts and files in one answer.
pub const PROMPTS_MAX: usize = 64;
/// All cookies of a call together, keys and values, in bytes.
pub const COOKIES_MAX_BYTES: usize = 1024;
/// The longest key of a cookie, in characters.
pub const COOKIE_KEY_MAX_CHARS: usize = 50;
/// Key and value of one call header, in bytes.
pub const HEADER_MAX_BYTES: usize = 1024;
/// The longest id of a conference, in characters.
pub const CONFERENCE_ID_MAX_CHARS: usize = 64;
/// The longest name of an in-app user, in characters.
pub const MXP_ENDPOINT_MAX_CHARS: usize = 128;
/// The longest id of a menu, in characters.
pub const MENU_ID_MAX_CHARS: usize = 64;
/// How often a menu may ask again. This limit and the next three are those of Sinch's own menu builder; SVAML written
/// by hand may go further.
pub const MENU_REPEATS_MAX: u32 = 5;
/// Digits one menu may take.
pub const MENU_DIGITS_MAX: u32 = 20;
/// The longest silence that ends input, in seconds.
pub const MENU_TIMEOUT_MAX_SECS: u32 = 30;
/// The longest spoken input, in seconds.
pub const MENU_VOICE_MAX_SECS: u32 = 60;
/// The longest code of a refusal, in characters.
pub const REASON_MAX_CHARS: usize = 64;
