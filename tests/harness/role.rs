//! A callbus process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Program;

/// Starts `<program> --config <config> <arguments>` with settings by environment, and waits until it is ready.
pub(crate) fn start(
    mut program: Command,
    config: &Path,
    arguments: &[&str],
    settings: &[(String, String)],
    log: PathBuf,
) -> Result<Program> {
    program.arg("--config").arg(config).args(arguments);
    program.envs(settings.iter().map(|(name, value)| (name, value))).env("RUST_LOG", "info");
    Program::start(&format!("callbus {arguments:?}"), program, log)
        .context("is it built? cargo build -p callbus --examples")
}

/// The program under test lies beside the tests.
pub fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).context("find the target folder")?;
    Ok(target.join("callbus"))
}
