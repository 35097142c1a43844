//! Sockets in, pure, sockets out. Decisions are made in `boot`, `dhcp` and `lifecycle`; here bytes move.
//!
//! `start` binds everything first, all or nothing; then DHCP and TFTP run on threads of their own, HTTP, syslog and the
//! control socket on one runtime, and the bulk of HTTP on another, so that it delays no answer of any of them.

pub mod agent_files;
pub mod agents;
pub mod answers;
pub mod bulk;
pub mod capture;
pub mod clock;
pub mod collected;
pub mod control;
pub mod dhcp;
pub mod difference;
pub mod health;
pub mod http;
pub mod hub;
pub mod media;
pub mod names;
pub mod netlink;
pub mod odd;
pub mod path;
pub mod plans;
pub mod ports;
pub mod recorder;
pub mod rendering;
pub mod reply;
pub mod reports;
pub mod rivals;
pub mod routes;
pub mod scripts;
pub mod seats;
pub mod sendfile;
pub mod shared;
pub mod syslines;
pub mod syslog;
pub mod tally;
pub mod tftp;
pub mod turns;
pub mod watch;
pub mod works;

use crate::base::secret::SiteKey;
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, Problems};
use crate::site::DhcpMode;
use crate::store::Store;
use crate::tls::Identity;
use clock::Clock;
use dhcp::Dhcp;
use hub::{Hub, World};
use recorder::Recorder;
use shared::{Load, Parts, Renders, Shared};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tftp::{AsyncTftp, Limits, Lookup, TftpEngine};
use tokio::signal::unix::{self, Signal, SignalKind};
use tokio::sync::watch as signal;

/// Where to serve. What is `None` comes from the site file or the protocol.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The state folder; the control socket is made in it.
    pub state: PathBuf,
    pub listen: Option<Ipv4Addr>,
    pub http_port: Option<u16>,
    pub agent_port: Option<u16>,
    pub tftp_port: Option<u16>,
    pub syslog_port: Option<u16>,
    /// Serve no DHCP, whatever the site file says.
    pub no_dhcp: bool,
    /// Keep captures of what machines boot with in this folder.
    pub pcap: Option<PathBuf>,
}

/// What a server is made of.
pub struct Materials {
    pub load: Load,
    pub store: Box<dyn Store>,
    pub key: SiteKey,
    /// What the nodes' agents know this server by.
    pub identity: Identity,
    pub renders: Arc<dyn Renders>,
    pub clock: Clock,
}

/// Every socket, bound.
struct Bound {
    http: TcpListener,
    agents: TcpListener,
    tftp: UdpSocket,
    odd: Option<UdpSocket>,
    syslog_udp: UdpSocket,
    syslog_tcp: TcpListener,
    control: UnixListener,
}

/// The addresses that are served.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub http: SocketAddr,
    pub agents: SocketAddr,
    pub tftp: SocketAddr,
    pub syslog_udp: SocketAddr,
    pub syslog_tcp: SocketAddr,
    pub control: PathBuf,
}

/// A server that runs; `stop` ends it.
pub struct Running {
    pub shared: Arc<Shared>,
    pub addresses: Addresses,
    /// Why DHCP is not served, if it is not: another server answers. Nobody is answered by half a boot server.
    refused: signal::Receiver<Option<Problem>>,
    stop: signal::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    recorder: JoinHandle<()>,
    runtime: Option<tokio::runtime::Runtime>,
    bulk: Option<tokio::runtime::Runtime>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Reads the site, binds everything, replays the journal, serves. All problems of a kind at once.
pub fn start(options: &Options, materials: Materials) -> Result<Running, Problems> {
    more_files();
    let load = overridden(options, materials.load);
    let (world, shelf) = load()?;
    let full = !options.no_dhcp && world.site.server.dhcp == DhcpMode::Full;
    let (bound, addresses) = bind(options, &world).map_err(|mut problems| {
        // All that is in the way at once: also what is in DHCP's.
        let more = if full { dhcp::obstacles(&world.site) } else { Vec::new() };
        problems.0.extend(more);
        problems
    })?;
    let hub = Arc::new(Hub::new(materials.store, world)?);
    let dhcp = full.then(|| Dhcp::bind(hub.clone(), materials.clock.clone())).transpose()?;
    let (to, recorder) = Recorder::start(hub.clone()).map_err(thread)?;
    let shared = Shared::new(Parts {
        hub,
        to,
        clock: materials.clock,
        key: materials.key,
        pin: materials.identity.fingerprint(),
        renders: materials.renders,
        load,
        shelf,
        state: options.state.clone(),
    });
    begin(&shared)?;
    shared.works.resume(&shared);
    let tls = crate::tls::server(&materials.identity)?;
    let (stop, stopped) = signal::channel(false);
    let mut threads = Vec::new();
    let (refuse, refused) = signal::channel(None);
    if let Some(dhcp) = dhcp {
        shared.health.set_dhcp(dhcp.shared());
        let stopped = stopped.clone();
        threads.push(spawn("dhcp", move || run_dhcp(dhcp, &refuse, stopped))?);
    }
    if let Some(folder) = &options.pcap {
        for (link, _) in netlink::served(&shared.hub.world().site)? {
            let capture = capture::Capture::open(folder, &link)?;
            let stopped = stopped.clone();
            threads.push(spawn("pcap", move || capture.run(&stopped))?);
        }
    }
    let side = odd::Side::default();
    if let Some(door) = bound.odd {
        side.steer(bound.tftp.try_clone().map_err(thread)?);
        let (side, stopped) = (side.clone(), stopped.clone());
        threads.push(spawn("tftp-odd", move || {
            if let Err(e) = odd::serve(&door, &side, &stopped) {
                tracing::error!("the side door of TFTP ended: {e}");
            }
        })?);
    }
    let limits = Limits::for_mtu(watch::mtu(addresses.tftp.ip()).unwrap_or(1500));
    let (serving, tftp, halted) = (shared.clone(), bound.tftp, stopped.clone());
    threads.push(spawn("tftp", move || run_tftp(&AsyncTftp, &tftp, limits, &serving, &side, &halted))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .max_blocking_threads(16)
        .thread_name("http")
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .map_err(thread)?;
    let bulk = bulk::start().map_err(thread)?;
    let tasks = {
        let _inside = runtime.enter();
        let doors = Doors {
            http: bound.http,
            agents: bound.agents,
            syslog: (bound.syslog_udp, bound.syslog_tcp),
            control: bound.control,
        };
        spawn_tasks(&shared, doors, tls, bulk.handle(), &stopped).map_err(thread)?
    };
    let (runtime, bulk) = (Some(runtime), Some(bulk));
    Ok(Running { shared, addresses, refused, stop, threads, recorder, runtime, bulk, tasks })
}

impl Running {
    /// Ends it in order: no new requests, a moment for those under way, everything recorded.
    pub fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            let tasks = std::mem::take(&mut self.tasks);
            runtime.block_on(async {
                for task in tasks {
                    let _ = tokio::time::timeout(Duration::from_secs(4), task).await;
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        if let Some(bulk) = self.bulk.take() {
            bulk.shutdown_timeout(Duration::from_secs(1));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.addresses.control);
        self.shared.tally.tell(true);
        let Running { shared, recorder, .. } = self;
        // The recorder ends with its last sender; a connection that outlived the stop may still hold one.
        if Arc::into_inner(shared).is_some() {
            let _ = recorder.join();
        }
    }
}

/// Serves until SIGTERM or SIGINT; SIGHUP reads the site again.
pub fn run(options: &Options, materials: Materials) -> Result<(), Problems> {
    // Signals are taken before anything is answered: who stops the server in its first moment stops it in order too.
    let ears = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
    let signals = ears.block_on(async { Signals::take() }).map_err(thread)?;
    let running = start(options, materials)?;
    let a = &running.addresses;
    tracing::info!(
        "serving: HTTP on {}, TFTP on {}, syslog on {}, control socket {}",
        a.http,
        a.tftp,
        a.syslog_udp,
        a.control.display()
    );
    let (shared, mut refused) = (running.shared.clone(), running.refused.clone());
    let waited = ears.block_on(async {
        tokio::select! {
            () = signals.stop(shared) => Ok(()),
            why = refusal(&mut refused) => Err(why),
        }
    });
    tracing::info!("stopping");
    running.stop();
    Ok(waited?)
}

/// Waits for the reason to refuse; for ever, if there is none.
async fn refusal(refused: &mut signal::Receiver<Option<Problem>>) -> Problem {
    let why = match refused.wait_for(Option::is_some).await {
        Ok(why) => why.clone(),
        Err(_) => None,
    };
    match why {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

/// Looks for other DHCP servers, then serves until the end. The rest of the server is up meanwhile.
fn run_dhcp(mut dhcp: Dhcp, refuse: &signal::Sender<Option<Problem>>, mut stopped: signal::Receiver<bool>) {
    let shared = dhcp.shared();
    let result = std::thread::scope(|s| {
        let surveyed = s.spawn(|| dhcp.survey());
        while !surveyed.is_finished() {
            if *stopped.borrow() {
                shared.give_up();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        surveyed.join().unwrap_or_else(|_| Err(Problem::fault("looking for other DHCP servers failed")))
    });
    if *stopped.borrow() {
        return;
    }
    match result.and_then(|()| dhcp.start()) {
        Ok(running) => {
            tracing::info!("DHCP: {}", running.shared.said());
            while !*stopped.borrow_and_update() {
                std::thread::sleep(Duration::from_millis(50));
            }
            running.stop();
        }
        Err(why) => {
            refuse.send_replace(Some(why));
        }
    }
}

/// The signals that end the server or have it read its site again (systemd's words for them).
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Signals> {
        let [term, int, hup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Ok(Signals { term: unix::signal(term)?, int: unix::signal(int)?, hup: unix::signal(hup)? })
    }

    /// Ends with SIGTERM or SIGINT; reads the site again with every SIGHUP.
    async fn stop(mut self, shared: Arc<Shared>) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => {
                    let shared = shared.clone();
                    if let Ok(result) = tokio::task::spawn_blocking(move || shared.reload(None)).await {
                        control::told(&result);
                    }
                }
            }
        }
    }
}

/// Reads the site with the addresses that were asked for in its place: what machines are told is what is bound.
/// (Port 0, "any", is known only afterwards: tests.)
fn overridden(options: &Options, load: Load) -> Load {
    let (listen, http, agents) = (options.listen, options.http_port, options.agent_port);
    Arc::new(move || {
        let (mut world, shelf) = load()?;
        let server = &mut world.site.server;
        server.address = listen.unwrap_or(server.address);
        server.http_port = http.filter(|p| *p != 0).unwrap_or(server.http_port);
        server.agent_port = agents.filter(|p| *p != 0).unwrap_or(server.agent_port);
        Ok((world, shelf))
    })
}

/// Binds every socket, or none: all that is in the way is said at once.
fn bind(options: &Options, world: &World) -> Result<(Bound, Addresses), Problems> {
    let server = &world.site.server;
    // An address that is not here is one problem, not one per socket.
    netlink::servable(&world.site, options.listen)?;
    let at = |port: u16| SocketAddrV4::new(options.listen.unwrap_or(server.address), port);
    let mut problems = Problems::default();
    let http = take(&mut problems, ports::tcp(at(options.http_port.unwrap_or(server.http_port)), "HTTP"));
    let agents =
        take(&mut problems, ports::tcp(at(options.agent_port.unwrap_or(server.agent_port)), "agents"));
    let tftp = take(&mut problems, ports::tftp(at(options.tftp_port.unwrap_or(69))));
    let syslog = options.syslog_port.unwrap_or(SYSLOG);
    let syslog_udp = take(&mut problems, ports::udp(at(syslog), "syslog"));
    let syslog_tcp = take(&mut problems, ports::tcp(at(syslog), "syslog"));
    let path = options.state.join("control.sock");
    let control = take(&mut problems, ports::unix(&path));
    let (Some(http), Some(agents), Some((tftp, odd)), Some(syslog_udp), Some(syslog_tcp), Some(control)) =
        (http, agents, tftp, syslog_udp, syslog_tcp, control)
    else {
        return Err(problems);
    };
    let addresses = (|| {
        Ok(Addresses {
            http: http.local_addr()?,
            agents: agents.local_addr()?,
            tftp: tftp.local_addr()?,
            syslog_udp: syslog_udp.local_addr()?,
            syslog_tcp: syslog_tcp.local_addr()?,
            control: path,
        })
    })()
    .map_err(|e: std::io::Error| Problem::environment(format!("a bound socket has no address: {e}")))?;
    Ok((Bound { http, agents, tftp, odd, syslog_udp, syslog_tcp, control }, addresses))
}

/// The port that installers send their log to (RFC 5426, RFC 6587).
const SYSLOG: u16 = 514;

fn take<T>(problems: &mut Problems, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|p| problems.push(p)).ok()
}

/// A clock that is so far behind the journal is worth a word, in seconds.
const BEHIND_SECS: u64 = 60;

/// The journal's first words of this run: proof that it can be written, before anybody is answered.
fn begin(shared: &Shared) -> Result<(), Problem> {
    let site = &shared.hub.world().site;
    let now = shared.clock.now();
    if let Some(last) = shared.hub.began_after()
        && now.since(last) == 0
        && last.since(now) > BEHIND_SECS * 1000
    {
        tracing::warn!(
            "this machine's clock says {now}, and the journal's last entry is of {last}: was the clock set back? Set it \
             right before nodes are installed; leases and waits of before count from a time that is still to come"
        );
    }
    let events = vec![
        Event::server(now, What::Started { version: env!("CARGO_PKG_VERSION").to_string() }),
        Event::server(now, What::SiteLoaded { digest: site.digest, nodes: site.nodes.len() }),
    ];
    shared.hub.record(events).map(|_| ())
}

fn run_tftp(
    engine: &dyn TftpEngine,
    socket: &UdpSocket,
    limits: Limits,
    shared: &Arc<Shared>,
    side: &odd::Side,
    stopped: &signal::Receiver<bool>,
) {
    let files: Arc<dyn tftp::Files> = Arc::new(Lookup::new(shared.clone(), side.clone()));
    // The engine ends on any error of its socket; it must not stay ended.
    while !*stopped.borrow() {
        let result = socket.try_clone().and_then(|s| engine.serve(s, limits, files.clone(), stopped.clone()));
        match result {
            Ok(()) => return,
            Err(e) => {
                tracing::error!("TFTP ended ({e}) and is started again");
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

/// The doors of the async part.
struct Doors {
    http: TcpListener,
    agents: TcpListener,
    syslog: (UdpSocket, TcpListener),
    control: UnixListener,
}

fn spawn_tasks(
    shared: &Arc<Shared>,
    doors: Doors,
    tls: Arc<rustls::ServerConfig>,
    bulk: &tokio::runtime::Handle,
    stopped: &signal::Receiver<bool>,
) -> std::io::Result<Vec<tokio::task::JoinHandle<()>>> {
    let Doors { http, agents, syslog, control } = doors;
    syslog.0.set_nonblocking(true)?;
    let address = http.local_addr()?.ip();
    let http = tokio::net::TcpListener::from_std(http)?;
    let agents = tokio::net::TcpListener::from_std(agents)?;
    let udp = tokio::net::UdpSocket::from_std(syslog.0)?;
    let tcp = tokio::net::TcpListener::from_std(syslog.1)?;
    let control = tokio::net::UnixListener::from_std(control)?;
    let sink = syslog::Sink::new(shared.clone());
    Ok(vec![
        tokio::spawn(http::network(http, shared.clone(), bulk.clone(), stopped.clone())),
        tokio::spawn(agents::serve(agents, tls, shared.clone(), stopped.clone())),
        tokio::spawn(agents::follow(shared.clone(), stopped.clone())),
        tokio::spawn(http::socket(control, shared.clone(), stopped.clone())),
        tokio::spawn(syslog::udp(udp, sink.clone(), stopped.clone())),
        tokio::spawn(syslog::tcp(tcp, sink, stopped.clone())),
        tokio::spawn(watch::look(shared.clone(), address, stopped.clone())),
    ])
}

/// As many open files as the system allows: a thousand machines are a thousand sockets.
fn more_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!("the limit of open files stays at {soft}: {e}");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Problem> {
    std::thread::Builder::new().name(name.into()).stack_size(512 * 1024).spawn(work).map_err(thread)
}

fn thread(e: std::io::Error) -> Problem {
    Problem::environment(format!("cannot start a thread: {e}"))
        .help("the system is out of memory or of threads")
}
