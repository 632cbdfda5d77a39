//! Sets an option of the model by its name, as sweeps and experiments do.

use clap::{CommandFactory, Parser};

use super::options::ModelOptions;

/// The model's options alone.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct ModelLine {
    #[command(flatten)]
    model: ModelOptions,
}

impl ModelOptions {
    /// The same options with one of them set. The error says what is wrong with the name or the value.
    pub fn with(&self, option: &str, value: &str) -> Result<ModelOptions, String> {
        let mut line = ModelLine { model: self.clone() };
        line.try_update_from([format!("--{option}={value}")]).map_err(|error| first_line(&error))?;
        Ok(line.model)
    }

    /// The names of all options, without dashes.
    pub fn names() -> Vec<String> {
        ModelLine::command().get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
    }
}

/// Clap's message without its usage lines, since no such command line was typed.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().map_or("", |line| line.trim_start_matches("error: ")).to_owned()
}
