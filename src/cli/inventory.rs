//! `bootstead inventory`: the site's nodes for other tools: Ansible's dynamic inventory.

use super::load::load;
use super::{Globals, say};
use crate::problem::{Exit, Problem, Problems};
use crate::site::{Node, Site};
use serde_json::{Map, Value, json};

#[derive(Debug, clap::Args)]
pub struct InventoryArgs {
    /// As Ansible's inventory scripts print it (the only form there is)
    #[arg(long)]
    ansible: bool,
    /// Every group and host; Ansible asks for this
    #[arg(long)]
    list: bool,
    /// The variables of one host; Ansible may ask for this
    #[arg(long, value_name = "NODE", conflicts_with = "list")]
    host: Option<String>,
}

pub fn run(g: &Globals, args: InventoryArgs) -> Result<Exit, Problems> {
    if !args.ansible && !args.list && args.host.is_none() {
        return Err(Problem::input("say which form: --ansible")
            .help("a script of two lines makes it Ansible's: `#!/bin/sh` and `exec bootstead --site FILE inventory --ansible \"$@\"`")
            .into());
    }
    let site = load(g)?.site;
    let value = match &args.host {
        Some(name) => match site.find(name) {
            Some(node) => variables(&site, node),
            None => {
                let names = site.nodes.iter().map(|n| n.name.as_str());
                return Err(super::status::unknown("node", name, names).into());
            }
        },
        None => list(&site),
    };
    say(&format!("{value:#}\n"))
}

/// Groups by role and by part; all variables at once, so that Ansible does not ask host by host.
fn list(site: &Site) -> Value {
    let mut groups: Map<String, Value> = Map::new();
    let mut add = |group: String, node: &Node| {
        let entry = groups.entry(group).or_insert_with(|| json!({ "hosts": [] }));
        if let Some(hosts) = entry.get_mut("hosts").and_then(Value::as_array_mut) {
            hosts.push(node.name.clone().into());
        }
    };
    for node in &site.nodes {
        let role = site.role(node);
        add(group_name("role", &role.name), node);
        for part in role.parts.iter().filter(|_| site.cluster.is_some()) {
            add(group_name("part", part), node);
        }
    }
    let vars: Map<String, Value> = site.nodes.iter().map(|n| (n.name.clone(), variables(site, n))).collect();
    groups.insert("_meta".to_string(), json!({ "hostvars": vars }));
    Value::Object(groups)
}

/// Ansible's group names are letters, digits and underscores.
fn group_name(kind: &str, name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{kind}_{name}")
}

fn variables(site: &Site, node: &Node) -> Value {
    let address = site.cluster_address(node).or_else(|| site.boot_address(node));
    let role = site.role(node);
    json!({
        "ansible_host": address,
        "bootstead_role": role.name,
        "bootstead_number": node.number,
        "bootstead_mac": node.mac(),
        "bootstead_addresses": node.addresses,
        "bootstead_parts": role.parts,
    })
}
