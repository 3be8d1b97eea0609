//! The program `callbus`.

use std::process::ExitCode;

fn main() -> ExitCode {
    callbus::Program::default().run()
}
