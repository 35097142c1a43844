//! kickstart/*.j2 → [`Family`]: how an operating system installs itself.
//!
//! This module does not know sites: it is handed a [`Context`].

pub mod context;
pub mod header;
pub mod lint;

pub use context::Context;
pub use header::{Also, Installer, Manager};

use crate::problem::Problem;
use crate::profiles::Var;
use crate::tree::Tree;
use crate::tree::template::Templates;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How one family installs: what its template's header says.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What is before the first dot of the template's file name (`el9` of `kickstart/el9.ks.j2`).
    pub name: String,
    pub summary: String,
    /// Directories below \\EFI that the installed system's boot loader may lie in (`debian`; `rocky`, `almalinux`).
    pub efi: Vec<String>,
    pub installer: Installer,
    /// pykickstart's name of the kickstart version (`RHEL9`, `F36`); only for Anaconda.
    pub dialect: Option<String>,
    /// Path of the template in the tree.
    pub template: String,
    /// The name that the installer asks for below `/a/MAC/TOKEN/`.
    pub file: String,
    pub suffix: String,
    /// Which list of the profile's `packages` is installed; none for Ignition families.
    pub packages: Option<Manager>,
    /// The installer's kernel command line, a template.
    pub cmdline: String,
    pub also: Vec<Also>,
    /// Variables that the template declares; the site may give values.
    pub vars: BTreeMap<String, Var>,
}

/// One finished answer file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The name that the installer asks for below `/a/MAC/TOKEN/` (`ks.cfg`, `user-data`).
    pub file: String,
    /// The suffix under which `render --all` writes it (`.ks`, `.autoinstall.yaml`).
    pub suffix: String,
    pub content: String,
}

/// Reads the families' headers; what cannot be read is left out and reported.
pub fn read(tree: &Tree) -> (BTreeMap<String, Family>, Vec<Problem>) {
    let (mut families, mut problems) = (BTreeMap::<String, Family>::new(), Vec::new());
    for (path, file) in tree.below("kickstart") {
        let Some((name, _)) = path.split_once('.').filter(|_| path.ends_with(".j2") && !path.contains('/'))
        else {
            continue;
        };
        let template = format!("kickstart/{path}");
        if let Some(first) = families.get(name) {
            problems.push(
                Problem::input(format!("family {name} has two templates: {} and {template}", first.template))
                    .help("remove one of them, or give it another name"),
            );
            continue;
        }
        match header::read(&template, file) {
            Ok(h) => {
                families.insert(name.to_string(), family(name, template, h));
            }
            Err(p) => problems.push(p),
        }
    }
    (families, problems)
}

fn family(name: &str, template: String, h: header::Header) -> Family {
    Family {
        name: name.to_string(),
        summary: h.summary,
        efi: h.efi,
        installer: h.installer,
        dialect: h.dialect,
        template,
        file: h.file,
        suffix: h.suffix,
        packages: h.packages,
        cmdline: h.cmdline,
        also: h.also,
        vars: h.vars,
    }
}

/// The context with the family's own defaults for variables that nobody gave.
fn filled<'a>(family: &Family, context: &'a Context) -> Result<Cow<'a, Context>, Problem> {
    let mut out = Cow::Borrowed(context);
    for (name, var) in &family.vars {
        if context.vars.contains_key(name) {
            continue;
        }
        let Some(default) = &var.default else {
            return Err(Problem::input(format!("family {} needs the variable {name}", family.name))
                .why(var.help.clone())
                .help(format!("give {name} a value in the site's, the role's or the node's vars")));
        };
        out.to_mut().vars.insert(name.clone(), default.clone());
    }
    Ok(out)
}

/// Every answer file of a node whose installer is of this family; each has passed our own lint.
pub fn answers(templates: &Templates, family: &Family, context: &Context) -> Result<Vec<Answer>, Problem> {
    let answers = render(templates, family, context)?;
    let findings = lint::check(family, &answers);
    let Some(first) = findings.first() else { return Ok(answers) };
    let more = match findings.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Err(Problem::input(format!("{} for {}: {first}{more}", family.name, context.node.name))
        .why("the installer would stop at it or do something else than is written")
        .help(format!("look at the values of this node that go into {}", family.template)))
}

/// The answer files as rendered, before any check.
pub fn render(templates: &Templates, family: &Family, context: &Context) -> Result<Vec<Answer>, Problem> {
    let context = filled(family, context)?;
    let mut answers = vec![Answer {
        file: family.file.clone(),
        suffix: family.suffix.clone(),
        content: templates.render(&family.template, &context)?,
    }];
    for also in &family.also {
        answers.push(Answer {
            file: also.file.clone(),
            suffix: also.suffix.clone(),
            content: templates.render(&also.template, &context)?,
        });
    }
    Ok(answers)
}

/// The installer's kernel command line.
pub fn cmdline(templates: &Templates, family: &Family, context: &Context) -> Result<String, Problem> {
    let context = filled(family, context)?;
    let shown = format!("command line of {}", family.template);
    let line = templates.render_text(&shown, &family.cmdline, &context)?;
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    // COMMAND_LINE_SIZE of x86 is 2048 with the closing NUL; the boot script adds its initrd= words.
    if line.len() > 1900 {
        return Err(Problem::input(format!(
            "the kernel command line of {} has {} bytes; 1900 are safe",
            context.node.name,
            line.len()
        ))
        .help("shorten kernel_args of the role or args of the image"));
    }
    Ok(line)
}
