//! Owns the site that `bootstead init` writes to start from: commented, and passing check as it is.

const SITE: &str = r#"# A site: one place's networks, roles and machines.
# `bootstead check` looks it over and says everything that is wrong at once.
# Every key is explained in docs/site-file.md; `bootstead schema` prints the schema for editors.

[site]
name = "example"
domain = "example.test"          # nodes are named NAME.example.test
timezone = "UTC"                 # for example "Europe/Berlin"

[server]
address = "10.77.0.1"            # this computer's own address on the provisioning network
# interfaces = ["eth1"]          # default: the interface that has the address
# discover = true                # list unknown machines that network-boot; they are never installed

# How you get into the installed nodes. Put at least one key here.
[access]
ssh_keys = [
#   "ssh-ed25519 AAAA… you@laptop",
]
# password_hash = "$6$…"         # as `openssl passwd -6` prints it; never a plain password

# The network that machines boot and install from. Addresses of the pool are for machines that are not nodes yet.
[network.provisioning]
cidr = "10.77.0.0/24"
pool = "10.77.0.200-10.77.0.250"
# gateway = "10.77.0.254"
# dns = ["10.77.0.254"]
# ntp = ["10.77.0.254"]

# Further networks have any name; those with a VLAN come tagged on the node's first port unless links say otherwise.
# [network.storage]
# cidr = "10.78.0.0/24"
# vlan = 78
# mtu = 9000

[role.controller]
profile = "controller"           # what it becomes; `bootstead tree` lists profiles and images
image = "debian13"               # `bootstead image list`; docs/images.md says which installers were really run
name = "controller-{n:02}"       # controller-01, controller-02, …
disk = { min_gib = 8, max_gib = 2000 }   # exactly one disk of a machine must match, or nothing is written
addresses.provisioning = "10.77.0.11-10.77.0.19"   # node number n gets the n-th address

[role.compute]
profile = "compute"
image = "debian13"
name = "compute-{n:04}"
disk = { min_gib = 8, max_gib = 2000 }
addresses.provisioning = "10.77.0.101-10.77.0.199"

# Machines are in nodes.csv (or nodes.xlsx) beside this file. Single ones can also be written here:
# [[node]]
# mac = "52:54:00:aa:00:01"
# role = "compute"
"#;

const NODES: &str = "\
# One machine per line. Any usual spelling of MAC addresses; several ports in one cell, separated by blanks.
# Further columns: name, number, ip, a network's name, disk serial, erase, note.
mac,role,note
52:54:00:00:00:01,controller,replace these examples
52:54:00:00:00:02,compute,
";

/// File names and contents.
pub fn files() -> [(&'static str, &'static str); 2] {
    [("site.toml", SITE), ("nodes.csv", NODES)]
}
