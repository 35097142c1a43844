//! `bootstead init`

use super::Globals;
use crate::disk;
use crate::problem::{Exit, Problem, Problems};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Folder to write site.toml and nodes.csv into; made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

pub fn run(g: &Globals, args: InitArgs) -> Result<Exit, Problems> {
    let files = crate::site::init::files();
    let mut problems = Problems::default();
    for (name, _) in &files {
        let path = args.dir.join(name);
        if path.exists() {
            problems.push(
                Problem::input(format!("{} is there already", path.display()))
                    .help("name another folder, or move the file away; init never overwrites"),
            );
        }
    }
    if problems.errors() > 0 {
        return Err(problems);
    }
    disk::make_folder(&args.dir, 0o755)?;
    for (name, text) in &files {
        // A site file may come to hold a password hash.
        disk::write(&args.dir.join(name), text.as_bytes(), 0o640)?;
    }
    if g.json {
        let wrote: Vec<String> = files.iter().map(|(n, _)| args.dir.join(n).display().to_string()).collect();
        return super::say_json(&serde_json::json!({ "wrote": wrote }));
    }
    let site = args.dir.join("site.toml");
    super::say(&format!(
        "Wrote {} and {}.\n\n\
         Next: read site.toml and change what is yours, list the machines in nodes.csv, then\n\
         \x20 bootstead --site {} check\n",
        site.display(),
        args.dir.join("nodes.csv").display(),
        site.display()
    ))
}
