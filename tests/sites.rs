//! Fixture sites: all of them pass, every file renders; the fast lane's orders have goldens; a spreadsheet is read.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use bootstead::base::{Secret, Sha256, Timestamp};
use bootstead::boot::{answers, bound, orders};
use bootstead::disk;
use bootstead::images::{Piece, Stock, Stocked};
use bootstead::lifecycle::{Event, Lane, Ledger};
use bootstead::problem::Problems;
use bootstead::site::{self, Catalog, Files, Site, Table};
use bootstead::ui::board::board;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The built-in tree with the tests' own images.
fn catalog() -> Catalog {
    Catalog::read(&disk::read_tree(Some(&fixtures().join("tree"))).unwrap()).unwrap()
}

fn checked(files: &Files, catalog: &Catalog) -> Site {
    let (site, problems) = site::check(files, catalog);
    site.unwrap_or_else(|| panic!("{problems}"))
}

fn sites(catalog: &Catalog) -> Vec<Site> {
    ["one-node.toml", "three-roles/site.toml", "ha-cluster/site.toml"]
        .map(|name| checked(&disk::read_site(&fixtures().join("sites").join(name)).unwrap(), catalog))
        .into()
}

#[test]
fn every_file_renders_holds_its_token_and_every_family_and_profile_is_used() {
    let catalog = catalog();
    let token = Secret::new("a-token-of-a-test");
    let (mut families, mut profiles) = (BTreeSet::new(), BTreeSet::new());
    for site in sites(&catalog) {
        for node in &site.nodes {
            let role = site.role(node);
            families.insert(catalog.images[&role.image].family.clone());
            profiles.insert(role.profile.clone());
            let files = answers::all(&site, &catalog, node, &token).unwrap();
            let script = files.iter().find(|f| f.what == "boot.ipxe").unwrap();
            assert!(script.content.contains(token.reveal()), "{}: {}", node.name, script.content);
            let names: BTreeSet<&String> = files.iter().map(|f| &f.file).collect();
            assert_eq!(names.len(), files.len(), "{}: two files of one name", node.name);
        }
    }
    let all = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(families, all(catalog.families.keys().collect()));
    assert_eq!(profiles, all(catalog.profiles.keys().collect()));
}

#[test]
fn flatcar_without_a_tree_is_refused_and_not_sent_to_the_internet() {
    let mut catalog = catalog();
    let site = &sites(&catalog)[2];
    let node = site.nodes.iter().find(|n| site.role(n).image == "flatcar").unwrap();
    catalog.images.get_mut("flatcar").unwrap().tree = None;
    let why = answers::all(site, &catalog, node, &Secret::new("t")).unwrap_err();
    assert!(why.what.contains("the image flatcar names no `tree`"), "{why}");
}

#[test]
fn the_fast_lanes_orders_are_as_they_were() {
    let catalog = catalog();
    let root = Piece { size: 1, sha256: Sha256::of(b"manifest") };
    let stock = |image: &str, files: &[&str]| {
        let files = files.iter().map(|f| (f.to_string(), root.clone())).collect();
        (image.to_string(), Stocked { files, gaps: Vec::new() })
    };
    let mut text = String::new();
    for site in sites(&catalog) {
        for node in site.nodes.iter().filter(|n| site.role(n).lane == Lane::Fast) {
            let image = &site.role(node).image;
            let token = Secret::new("TOKEN");
            let images = [stock("system", &[]), stock(image, &["root.json"])].into();
            let ready = Stock { images, ..Stock::default() };
            let orders = orders::orders(&site, &catalog, &ready, node, &token, 7).unwrap();
            assert_eq!((orders.arming, orders.root_sha256), (7, root.sha256));
            let images = [stock("system", &[]), stock(image, &["linux"])].into();
            let bare = Stock { images, ..Stock::default() };
            let why = orders::orders(&site, &catalog, &bare, node, &token, 7).unwrap_err();
            assert!(why.what.contains(&format!("bootstead image build {image}")), "{why}");
            let _ = writeln!(text, "#### {} {}\n#### {:?}", orders.node, orders.root, orders.disk);
            for f in orders.files {
                let _ = writeln!(text, "#### {} {:04o}\n{}", f.path, f.mode, f.content);
            }
        }
    }
    support::golden("orders.txt", &text);
}

#[test]
fn nodes_of_a_table_are_read_in_every_spelling() {
    let catalog = catalog();
    let site = &sites(&catalog)[1];
    let names: Vec<&str> = site.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["cs-compute-0001", "cs-compute-0007", "cs-controller-01", "storage-01"]);
    let seven = site.node_by_name("cs-compute-0007").unwrap();
    assert_eq!((seven.number, seven.macs.len()), (7, 3));
    assert_eq!(site.boot_address(seven).unwrap().to_string(), "10.77.0.107");
    assert_eq!(site.nodes[3].addresses["storage"].to_string(), "10.79.0.99");
}

#[test]
fn a_spreadsheet_says_the_same_as_a_table_of_text_and_its_problems_name_the_cell() {
    let catalog = catalog();
    let text = std::fs::read_to_string(fixtures().join("big.toml")).unwrap();
    let with = |rows: &[&[&str]]| {
        let mut files = Files::only("site.toml", &text);
        files.tables.push(Table { name: "nodes.xlsx".into(), bytes: Some(workbook(rows, &[])) });
        files
    };
    let site = checked(
        &with(&[&["MAC-Address", "Role"], &["52-54-00-AA-00-01", "Compute"], &["525400112233", "compute"]]),
        &catalog,
    );
    assert_eq!(site.nodes[1].mac().to_string(), "52:54:00:11:22:33");
    let (_, problems) = site::check(&with(&[&["MAC", "Role"], &["5254001122", "compote"]]), &catalog);
    let shown = problems.to_string();
    assert!(shown.contains("nodes.xlsx Machines!B3") && shown.contains("nodes.xlsx Machines!C3"), "{shown}");
    assert!(shown.contains("format the column as text"), "{shown}");
}

/// What check says about `text` with one table beside it.
fn with_table(text: &str, name: &str, bytes: Vec<u8>) -> (Option<Site>, Problems) {
    let mut files = Files::only("site.toml", text);
    files.tables.push(Table { name: name.into(), bytes: Some(bytes) });
    site::check(&files, &catalog())
}

#[test]
fn a_customers_workbook_is_read_as_it_is() {
    let text = std::fs::read_to_string(fixtures().join("sites/three-roles/site.toml")).unwrap();
    // A title over the whole width, a header of two rows, a role that is merged over a rack, a title between.
    let sheet = workbook(
        &[
            &["Machines of the north hall"],
            &["As of", "May"],
            &["MAC", "Role", "Host", "Addresses", "", "BMC", ""],
            &["", "", "", "provisioning", "storage", "MAC", "IP"],
            &[
                "52-54-00-aa-00-01",
                "storage",
                "NODE-01",
                "10.77.0.151",
                "10.79.0.151",
                "5254001122aa",
                "10.9.9.9",
            ],
            &["52-54-00-aa-00-02", "", "NODE-02", "10.77.0.152", "10.79.0.152", "5254001122ab", "10.9.9.8"],
            &["Rack 2"],
            &["52-54-00-aa-00-03", "storage"],
        ],
        &["B2:H2", "B4:B5", "C4:C5", "D4:D5", "E4:F4", "G4:H4", "C6:C7", "B8:H8"],
    );
    let (site, problems) = with_table(&text, "nodes.xlsx", sheet);
    let site = site.unwrap_or_else(|| panic!("{problems}"));
    let names: Vec<&str> = site.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["node-01", "node-02", "storage-03"]);
    for (node, last) in site.nodes.iter().zip([151, 152]) {
        assert_eq!((node.role.as_str(), node.macs.len()), ("storage", 1));
        assert_eq!(node.addresses["provisioning"].octets()[3], last);
        assert_eq!(node.addresses["storage"].octets()[3], last);
    }
    let capitals: Vec<_> = problems.0.iter().filter(|p| p.what.contains("is taken as \"node-01\"")).collect();
    assert_eq!((capitals.len(), problems.warnings()), (1, 1), "{problems}");
    assert_eq!(capitals[0].at.as_ref().unwrap().cell.as_deref(), Some("Machines!D6"));
}

#[test]
fn every_visible_sheet_of_nodes_is_read_and_hidden_ones_are_named() {
    let machines = |from: usize, count: usize| {
        let macs: Vec<String> = (from..from + count).map(|n| format!("52-54-00-aa-00-{n:02x}")).collect();
        let rows: Vec<[&str; 2]> = macs.iter().map(|m| [m.as_str(), "compute"]).collect();
        let mut all: Vec<&[&str]> = vec![&["MAC", "Role"]];
        all.extend(rows.iter().map(|r| &r[..]));
        sheet(&all, &[])
    };
    let notes = sheet(&[&["Name", "Telephone"], &["Desk", "110"]], &[]);
    let text = std::fs::read_to_string(fixtures().join("big.toml")).unwrap();
    let with = |last: usize| {
        book(&[
            ("Contacts", "visible", notes.clone()),
            ("Rack A", "visible", machines(1, 2)),
            ("Old", "hidden", machines(40, 3)),
            ("Rack B", "visible", machines(3, last)),
            ("Older", "veryHidden", machines(40, 3)),
            ("Lists", "hidden", notes.clone()),
        ])
    };
    let (site, problems) = with_table(&text, "nodes.xlsx", with(3));
    assert_eq!((site.unwrap().nodes.len(), problems.warnings()), (5, 1), "{problems}");
    let says = "the machines of the hidden sheets \"Old\", \"Older\" of nodes.xlsx are not read";
    assert_eq!(problems.0[0].what, says);

    let twice = book(&[("Rack A", "visible", machines(1, 2)), ("Rack B", "visible", machines(2, 2))]);
    let (_, problems) = with_table(&text, "nodes.xlsx", twice);
    let shown = problems.to_string();
    assert!(shown.contains("the MAC address 52:54:00:aa:00:02 is there twice"), "{shown}");
    assert!(shown.contains("nodes.xlsx Rack B!B3") && shown.contains("nodes.xlsx Rack A!B4"), "{shown}");

    // What check prints of it.
    let dir = std::env::temp_dir().join(format!("bootstead-sheets-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("site.toml"), &text).unwrap();
    std::fs::write(dir.join("nodes.xlsx"), with(1)).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_bootstead"));
    let ran = check.current_dir(&dir).args(["--site", "site.toml", "check"]).output().unwrap();
    let out = String::from_utf8(ran.stdout).unwrap();
    assert!(
        out.contains("\n3 nodes from nodes.xlsx, sheets \"Rack A\", \"Rack B\"\n"),
        "{out}{:?}",
        String::from_utf8(ran.stderr)
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_column_without_its_name_or_without_use_is_one_problem() {
    let text = std::fs::read_to_string(fixtures().join("big.toml")).unwrap();
    let says = |header: [&str; 3], cell: &dyn Fn(usize) -> [String; 3]| {
        let cells: Vec<[String; 3]> = (1..=200).map(cell).collect();
        let rows: Vec<[&str; 3]> = cells.iter().map(|c| [&c[0][..], &c[1], &c[2]]).collect();
        let mut all: Vec<&[&str]> = vec![&header];
        all.extend(rows.iter().map(|r| &r[..]));
        let cover = sheet(&[&["Written in May"]], &[]);
        let both = book(&[("Cover", "visible", cover), ("Server", "visible", sheet(&all, &[]))]);
        let (_, problems) = with_table(&text, "nodes.xlsx", both);
        assert_eq!(problems.errors(), 1, "{problems}");
        problems.to_string()
    };
    let mac = |n: usize| format!("52:54:00:aa:00:{n:02x}");
    let row = |n: usize, role: &str| [mac(n), role.to_string(), format!("srv-{n}")];
    let shown = says(["LAN", "Role", "Name"], &|n| row(n, "compute"));
    assert!(shown.contains("Server!B3 and below hold MAC addresses, and no heading says so"), "{shown}");
    assert!(shown.contains("name that column `mac`, in place of \"LAN\"; if these are no nodes"), "{shown}");
    let shown = says(["eth0 MAC", "What for", "Name"], &|n| row(n, "compute"));
    assert!(shown.contains("the sheet \"Server\" of nodes.xlsx has no column of roles"), "{shown}");
    let shown = says(["MAC", "Node Role", "Name"], &|n| row(n, ""));
    assert!(shown.contains("the column \"Node Role\" is empty"), "{shown}");
    let shown =
        says(["MAC", "Server Role", "Name"], &|n| row(n, if n % 2 == 0 { "Computer" } else { "compute" }));
    assert!(shown.contains("there is no role \"Computer\"") && shown.contains("100 rows have it"), "{shown}");
    let shown =
        says(["MAC", "Role", "Name"], &|n| [format!("5.2E+{n}"), "compute".into(), format!("srv-{n}")]);
    assert!(shown.contains("none of the column \"MAC\" is") && shown.contains("column as text"), "{shown}");
}

#[test]
fn a_stray_cell_far_out_is_named_and_another_sheet_may_be_as_wide_as_it_likes() {
    let text = std::fs::read_to_string(fixtures().join("big.toml")).unwrap();
    let nodes = sheet(&[&["MAC", "Role"], &["52-54-00-aa-00-01", "compute"]], &[]);
    let far = "<row r=\"1048576\"><c r=\"XFD1048576\"><v>7</v></c></row></sheetData>";
    let stray = nodes.replace("</sheetData>", far);
    let (_, problems) = with_table(&text, "nodes.xlsx", book(&[("Rack A", "visible", stray)]));
    assert!(problems.to_string().contains("--> nodes.xlsx Rack A!XFD1048576"), "{problems}");
    let wide = sheet(&[&["Prices"]], &[]).replace("</sheetData>", far);
    let both = book(&[("Prices", "visible", wide), ("Rack A", "visible", nodes)]);
    let (site, problems) = with_table(&text, "nodes.xlsx", both);
    assert_eq!(site.map(|s| s.nodes.len()), Some(1), "{problems}");
}

#[test]
fn a_table_of_text_may_have_titles_too_and_places_stay_right() {
    let text = std::fs::read_to_string(fixtures().join("big.toml")).unwrap();
    let csv = "Machines, as of: 1, 2, 3\n\nMAC;Role;Host\n525400aa0001;compute;A\n525400aa0002;compute;b_\n";
    let (_, problems) = with_table(&text, "nodes.csv", csv.into());
    let places: Vec<_> =
        problems.0.iter().filter_map(|p| p.at.as_ref()).map(|at| (at.line, at.column)).collect();
    assert_eq!((places, problems.errors()), (vec![(4, 22), (5, 22)], 1), "{problems}");
}

#[test]
fn a_new_site_is_told_what_is_missing_and_forgotten_examples_are_seen() {
    let [(_, text), (name, nodes)] = site::init::files();
    let (site, problems) = with_table(text, name, nodes.into());
    assert_eq!((site.unwrap().nodes.len(), problems.0.len()), (2, 1), "{problems}");
    assert!(problems.0[0].help.as_ref().unwrap().contains("put a public key into `ssh_keys`"), "{problems}");
    let mut files = Files::only("site.toml", text);
    files.tables.push(Table { name: name.into(), bytes: Some(nodes.into()) });
    let sheet = workbook(&[&["MAC", "Role"], &["52-54-00-aa-00-01", "compute"]], &[]);
    files.tables.push(Table { name: "nodes.xlsx".into(), bytes: Some(sheet) });
    let (_, problems) = site::check(&files, &catalog());
    assert!(problems.to_string().contains("nodes.csv still holds the example machines"), "{problems}");
}

#[test]
fn etcd_from_the_internet_is_a_warning_until_the_site_names_a_source() {
    let says = |image: &str, profile: &str, vars: &str| {
        let text = format!(
            "[site]\nname = \"lab\"\ndomain = \"lab.example\"\n[server]\naddress = \"10.77.0.1\"\n\
             [network.provisioning]\ncidr = \"10.77.0.0/24\"\n\
             [role.kv]\nprofile = \"{profile}\"\nimage = \"{image}\"\ndisk = {{ min_gib = 8 }}\nvars = {vars}\n\
             addresses.provisioning = \"10.77.0.11-10.77.0.19\"\n"
        );
        let macs = "mac,role\n525400aa0001,kv\n525400aa0002,kv\n525400aa0003,kv\n";
        let (site, problems) = with_table(&text, "nodes.csv", macs.into());
        assert!(site.is_some(), "{problems}");
        problems.to_string().contains("the nodes of kv fetch etcd's container image from the internet")
    };
    for image in ["fcos", "flatcar"] {
        assert!(says(image, "database", "{}"), "{image}");
        assert!(says(image, "database", "{ etcd_image_url = \"\" }"), "{image}");
        assert!(!says(image, "database", "{ etcd_image_url = \"10.77.0.1:5000/etcd\" }"), "{image}");
        assert!(!says(image, "base", "{}"), "{image}");
    }
    assert!(!says("debian12", "database", "{}"));
}

/// A workbook whose first sheet is empty and whose second begins at B2.
fn workbook(rows: &[&[&str]], merged: &[&str]) -> Vec<u8> {
    book(&[("Cover", "visible", sheet(&[], &[])), ("Machines", "visible", sheet(rows, merged))])
}

/// A sheet that begins at B2, as Excel writes it. Cells of digits only are numbers, as Excel makes them; `merged` names
/// ranges of cells.
fn sheet(rows: &[&[&str]], merged: &[&str]) -> String {
    let mut sheet = String::from(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>",
    );
    for (i, row) in rows.iter().enumerate() {
        let _ = write!(sheet, "<row r=\"{}\">", i + 2);
        for (column, cell) in ('B'..='Z').zip(row.iter()).filter(|(_, cell)| !cell.is_empty()) {
            let at = format!("{column}{}", i + 2);
            let _ = match cell.chars().all(|c| c.is_ascii_digit()) {
                true => write!(sheet, "<c r=\"{at}\"><v>{cell}</v></c>"),
                false => write!(sheet, "<c r=\"{at}\" t=\"inlineStr\"><is><t>{cell}</t></is></c>"),
            };
        }
        sheet.push_str("</row>");
    }
    sheet.push_str("</sheetData>");
    if !merged.is_empty() {
        let cells: String = merged.iter().map(|m| format!("<mergeCell ref=\"{m}\"/>")).collect();
        let _ = write!(sheet, "<mergeCells count=\"{}\">{cells}</mergeCells>", merged.len());
    }
    sheet.push_str("</worksheet>");
    sheet
}

/// A workbook of sheets: name, state and content; without compression.
fn book(sheets: &[(&str, &str, String)]) -> Vec<u8> {
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let packages = "http://schemas.openxmlformats.org/package/2006";
    let (mut names, mut parts) = (String::new(), String::new());
    for (i, (name, state, _)) in sheets.iter().enumerate() {
        let n = i + 1;
        let _ = write!(names, "<sheet name=\"{name}\" sheetId=\"{n}\" state=\"{state}\" r:id=\"r{n}\"/>");
        let _ = write!(
            parts,
            "<Relationship Id=\"r{n}\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet{n}.xml\"/>"
        );
    }
    let files: Vec<String> = (1..=sheets.len()).map(|n| format!("xl/worksheets/sheet{n}.xml")).collect();
    let mut all = vec![
        (
            "[Content_Types].xml",
            format!(
                "<Types xmlns=\"{packages}/content-types\"><Default Extension=\"xml\" ContentType=\"application/xml\"/></Types>"
            ),
        ),
        (
            "_rels/.rels",
            format!(
                "<Relationships xmlns=\"{packages}/relationships\"><Relationship Id=\"r1\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/workbook.xml",
            format!("<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets>{names}</sheets></workbook>"),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!("<Relationships xmlns=\"{packages}/relationships\">{parts}</Relationships>"),
        ),
    ];
    all.extend(files.iter().zip(sheets).map(|(file, (_, _, text))| (file.as_str(), text.clone())));
    zip(&all)
}

/// A ZIP archive of stored files (APPNOTE.TXT 4.3).
fn zip(files: &[(&str, String)]) -> Vec<u8> {
    let (mut out, mut index) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let at = out.len() as u32;
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend((text.len() as u32).to_le_bytes());
        common.extend((text.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(text.as_bytes());
        index.extend(b"PK\x01\x02\x14\x00");
        index.extend(&common);
        index.extend([0; 10]);
        index.extend(at.to_le_bytes());
        index.extend(name.as_bytes());
    }
    let (start, count) = (out.len() as u32, files.len() as u16);
    out.extend(&index);
    out.extend(b"PK\x05\x06\x00\x00\x00\x00");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend((index.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A machine's own kernel words come after its role's, and its installer gets those that it needs to show anything.
#[test]
fn kernel_words_of_one_machine() {
    let catalog = catalog();
    let sites = sites(&catalog);
    let three = &sites[1];
    let words = |name: &str| three.kernel_args(three.node_by_name(name).unwrap());
    assert_eq!(words("storage-01"), "nomodeset hugepages=16");
    assert_eq!(words("cs-compute-0007"), "console=ttyS0,115200");
    let node = three.node_by_name("storage-01").unwrap();
    let files = answers::all(three, &catalog, node, &Secret::new("t")).unwrap();
    let file = |what: &str| &files.iter().find(|f| f.what == what).unwrap().content;
    assert!(file("boot.ipxe").contains(" nomodeset") && !file("boot.ipxe").contains("hugepages"));
    let preseed = &files.iter().find(|f| f.file.ends_with(".preseed")).unwrap().content;
    assert!(preseed.contains("add-kernel-opts string nomodeset hugepages=16\n"), "{preseed}");

    let text = std::fs::read_to_string(fixtures().join("sites/three-roles/site.toml")).unwrap();
    let table = b"mac,role,kernel args\n52:54:00:aa:04:01,storage,quiet \"\"splash\n".to_vec();
    let (site, problems) = with_table(&text, "nodes.csv", table);
    assert!(site.is_none() && problems.to_string().contains("kernel_args cannot hold '\"'"), "{problems}");
}

/// Field-pain #28: nobody answers the switch's LACP before the installed system does; whoever waits is told.
#[test]
fn a_late_machine_whose_ports_become_an_lacp_bond_is_told_of_the_switch() {
    let text = |mode: &str| {
        format!(
            "{}\n[[role.storage.link]]\nname = \"bond0\"\nbond = {{ mode = \"{mode}\", members = [\"nic1\", \"nic2\"] }}\n\
             untagged = \"provisioning\"\ntagged = [\"storage\"]\n",
            std::fs::read_to_string(fixtures().join("sites/three-roles/site.toml")).unwrap()
        )
    };
    let late = |text: &str| {
        let table = b"mac;role\n52:54:00:aa:04:01 52:54:00:aa:04:02;storage\n".to_vec();
        let (site, problems) = with_table(text, "nodes.csv", table);
        let site = site.unwrap_or_else(|| panic!("{problems}"));
        let mut ledger = Ledger::default();
        let armed = bound::armed(&site, &site.nodes[0], 1, "me".into(), Vec::new());
        ledger.apply(&Event::new(Timestamp(1), site.nodes[0].mac(), armed)).unwrap();
        let board = board(&site, &ledger, &BTreeMap::new(), Timestamp(3_600_000), None);
        board.nodes[0].overdue.as_ref().unwrap().look_at.clone()
    };
    assert!(late(&text("802.3ad")).contains("bond0, which speaks LACP"), "{}", late(&text("802.3ad")));
    assert!(!late(&text("active-backup")).contains("LACP"));
}
