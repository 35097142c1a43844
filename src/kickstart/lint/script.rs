//! Rules for the shell scripts that installers fetch.

use super::Found;

/// Checks a script: how it starts, and that it stops for what is missing.
pub fn check(content: &str, found: &mut Found) {
    if !content.starts_with("#!/bin/sh\n") && !content.starts_with("#!/bin/bash\n") {
        found.add(1, "shebang", "a script must begin with #!/bin/sh or #!/bin/bash");
    }
    if !content.lines().any(|l| l.starts_with("set -") && l.contains('u')) {
        found.add(0, "set-u", "a script must say `set -u`: an unset variable would pass as an empty word");
    }
    here_documents(content, found);
}

/// A here-document without its last line swallows the rest of the script.
pub fn here_documents(content: &str, found: &mut Found) {
    let mut open: Option<(usize, &str)> = None;
    for (i, line) in content.lines().enumerate() {
        match open {
            Some((_, end)) if line == end => open = None,
            Some(_) => (),
            None => {
                if let Some((_, end)) = line.split_once("<<'")
                    && let Some((end, _)) = end.split_once('\'')
                {
                    open = Some((i + 1, end));
                }
            }
        }
    }
    if let Some((line, end)) = open {
        found.add(line, "here-document", format!("the text that begins here has no last line {end}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::plant;
    use super::*;

    #[test]
    fn each_rule_finds_its_mistake() {
        let good = "#!/bin/sh\nset -u\ncat <<'END'\ntext\nEND\necho done\n";
        plant(check, good, "#!/bin/sh", "# script", "shebang");
        plant(check, good, "set -u", "set -e", "set-u");
        plant(check, good, "\nEND\n", "\n END\n", "here-document");
    }
}
