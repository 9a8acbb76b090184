//! The process around a node: arguments in, messages out, signals.

use ramkeep_drive::process::ENDS_WITH_INPUT;
use ramkeep_engine::NodeFacts;
use ramkeep_engine::config::{Exposure, LogFormat};
use ramkeep_engine::time::Now;
use ramkeep_net::{Host, Listener};
use ramkeep_server::cli::{self, Outcome};
use ramkeep_server::config_file::{self, Assembled, Files};
use ramkeep_server::node::Node;
use ramkeep_server::options::{self, Invocation, ServerArguments, USAGE_EXIT_CODE};
use ramkeep_server::{banner, listeners, start};
use rand_core::RngCore;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Sector size of new directories: right for today's devices, and safe where it is unknown.
const SECTOR_BYTES: u32 = 4096;
/// Descriptors that the process needs besides its clients' sockets.
const OTHER_FILES: u64 = 64;

/// A demonstration that did not take place: neither a loss nor a success.
const COULD_NOT_RUN: u8 = 2;

pub fn main() -> ExitCode {
    let host = Host::real();
    let invocation = match options::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => {
            let password = host.environment(options::PASSWORD_VARIABLE);
            invocation.with_password(password.filter(|password| !password.is_empty()))
        }
        Err(error) => {
            eprintln!("ramkeep: {error}");
            return ExitCode::from(USAGE_EXIT_CODE);
        }
    };
    match invocation {
        Invocation::Print(text) => {
            print_out(&text);
            ExitCode::SUCCESS
        }
        Invocation::ConfigCheck(arguments) => {
            let text = match arguments.file.as_str() {
                "-" => host.read_standard_input(),
                file => host.read_file(file),
            };
            match text {
                Ok(text) => finish(&cli::config_check::config_check(
                    &arguments.file,
                    &text,
                    &mut RealFiles(&host),
                    arguments.json,
                )),
                Err(error) => fail(&format!("cannot read '{}': {error}", arguments.file)),
            }
        }
        Invocation::Log(arguments) => match ramkeep_net::run(cli::log::run(&host, &arguments)) {
            Ok(outcome) => finish(&outcome),
            Err(error) => fail(&format!("the runtime does not start: {error}")),
        },
        Invocation::Snapshot(arguments) => match ramkeep_net::run(cli::snapshot::run(&host, &arguments)) {
            Ok(outcome) => finish(&outcome),
            Err(error) => fail(&format!("the runtime does not start: {error}")),
        },
        Invocation::SnapshotCreate(target) => {
            finish_run(ramkeep_net::run(cli::snapshot::create(&host, &target)))
        }
        Invocation::Dev(arguments) => finish_asked(ramkeep_net::run(crate::dev::run(&host, &arguments))),
        Invocation::Demo(arguments) => match ramkeep_net::run(crate::demo::run(&host, &arguments)) {
            Ok(Ok(outcome)) => finish(&outcome),
            Ok(Err(why)) => {
                eprintln!("ramkeep: {why}");
                ExitCode::from(COULD_NOT_RUN)
            }
            Err(error) => fail(&format!("the runtime does not start: {error}")),
        },
        Invocation::Status(arguments) => {
            finish_asked(ramkeep_net::run(cli::status::status(&host, &arguments)))
        }
        Invocation::Failover(arguments) => {
            finish_asked(ramkeep_net::run(cli::status::failover(&host, &arguments)))
        }
        Invocation::Member(arguments) => {
            let mut told = |line: &str| eprintln!("{line}");
            finish_run(ramkeep_net::run(cli::member::run(&host, &arguments, &mut told)))
        }
        Invocation::Server(arguments) => server(&host, &arguments),
    }
}

/// Prints to standard output; a reader that went away is no error of ours.
fn print_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn finish(outcome: &Outcome) -> ExitCode {
    print_out(&outcome.text);
    ExitCode::from(outcome.exit_code)
}

fn finish_run(outcome: std::io::Result<Outcome>) -> ExitCode {
    match outcome {
        Ok(outcome) => finish(&outcome),
        Err(error) => fail(&format!("the runtime does not start: {error}")),
    }
}

fn finish_asked(outcome: std::io::Result<Result<Outcome, String>>) -> ExitCode {
    match outcome {
        Ok(Ok(outcome)) => finish(&outcome),
        Ok(Err(why)) => fail(&why),
        Err(error) => fail(&format!("the runtime does not start: {error}")),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("ramkeep: {why}");
    ExitCode::FAILURE
}

struct RealFiles<'h>(&'h Host);

impl Files for RealFiles<'_> {
    fn read(&mut self, name: &str) -> std::io::Result<Vec<u8>> {
        self.0.read_file(name)
    }

    fn read_standard_input(&mut self) -> std::io::Result<Vec<u8>> {
        self.0.read_standard_input()
    }
}

fn server(host: &Host, arguments: &ServerArguments) -> ExitCode {
    if host.environment(ENDS_WITH_INPUT).is_some() && !arguments.reads_standard_input {
        host.end_with_standard_input(
            "ramkeep: the process that started this node has ended, and so does the node",
        );
    }
    let assembled = match config_file::assemble(arguments, &mut RealFiles(host)) {
        Ok(assembled) => assembled,
        Err(error) => {
            eprintln!("ramkeep: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let is_json = assembled.config.settings().log_format == LogFormat::Json;
    start_tracing(is_json);
    for line in assembled.lines.iter().filter(|line| !line.treatment.is_accepted()) {
        tracing::warn!("{}:{}: {} has no effect: {}", line.source, line.number, line.directive, line.reason);
    }
    match ramkeep_net::run(serve(host.clone(), assembled)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => fail(&why),
        Err(error) => fail(&format!("the runtime does not start: {error}")),
    }
}

fn start_tracing(is_json: bool) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && !is_json)
        .with_max_level(tracing::Level::INFO);
    if is_json { builder.json().init() } else { builder.init() }
}

/// Runs a node to its end.
async fn serve(host: Host, assembled: Assembled) -> Result<(), String> {
    let settings = assembled.config.settings();
    let is_json = settings.log_format == LogFormat::Json;
    let facts = facts(&host, &assembled);
    let process_id = facts.process_id;
    let mut signals = host.shutdown_signals().map_err(|error| format!("signals: {error}"))?;
    // Its own thread sees to it: this one may stand still. What was acknowledged is on disk.
    host.end_with_second_signal("ramkeep: a second signal: the node ends at once");
    print_out(&banner::initialized_lines(VERSION, process_id, host.clock().wall_us()));
    host.raise_open_files(u64::from(settings.clients_max) + OTHER_FILES);
    let listeners = listeners::open(&host, &settings.bind, settings.port, settings.tcp_backlog)?;
    let asks_password = settings.requirepass.is_some();
    let (own, configured) = (ramkeep_server::roster::own(settings).cloned(), settings.members.len());
    let directory_name = String::from_utf8_lossy(&settings.dir).into_owned();
    let exposure = assembled.exposure;
    let options = start::Options {
        config: assembled.config,
        facts,
        directory: directory_name.clone(),
        sector_bytes: SECTOR_BYTES,
        shard: Default::default(),
        segment_bytes: None,
        kept_bytes_max: None,
        mutants: Default::default(),
        stopwatch: ramkeep_net::stopwatch_ns,
        writes_beside_readers: ramkeep_server::node::WRITES_BESIDE_READERS,
    };
    let directory = Rc::new(start::open(&host, &options).await.map_err(|error| error.to_string())?);
    let node = start::build(&host, &directory, options).await.map_err(|error| error.to_string())?;
    let addresses: Vec<SocketAddr> = listeners.iter().map(Listener::local_address).collect();
    start::spawn_tasks(&node, &directory, listeners);
    let starting = async {
        start::connect(&node, &directory).await?;
        start::recover(&node, &directory, Default::default()).await
    };
    // A node may wait long for the others, and must not keep whoever asks it to end waiting.
    let started = ramkeep_net::select! {
        started = starting => Some(started),
        signal = signals.next() => { tracing::info!(?signal, "stopping before the start is over"); None }
        () = node.stop_wanted() => { tracing::info!("stopping before the start is over: SHUTDOWN"); None }
    };
    let Some(started) = started else {
        return end_early(&node).await;
    };
    tell_report(&started.map_err(|error| error.to_string())?);
    let cluster = own.map(|own| banner::ClusterFacts {
        node: own.name,
        zone: own.zone,
        zones: node.voters().unwrap_or(configured),
        peer_address: own.peer_address,
    });
    let shown = banner::Facts {
        version: VERSION,
        process_id,
        directory: directory_name,
        directory_is_new: directory.is_new,
        log_bytes: directory.log_bytes,
        addresses,
        asks_password,
        cluster,
        warnings: warnings(exposure),
    };
    let wall_us = host.clock().wall_us();
    if is_json {
        eprintln!("{}", banner::banner_json(&shown, wall_us));
    } else {
        eprint!("{}", banner::banner_text(&shown));
    }
    print_out(&banner::ready_line(process_id, wall_us));
    ramkeep_net::select! {
        signal = signals.next() => tracing::info!(?signal, "stopping"),
        () = node.stop_wanted() => tracing::info!("stopping: SHUTDOWN"),
    }
    start::stop(&node).await;
    let farewell = "Ramkeep is now ready to exit, bye bye...";
    print_out(&banner::redis_line(process_id, host.clock().wall_us(), farewell));
    Ok(())
}

/// Who takes part in the log already leaves it in order; before that there is nothing to put in order.
async fn end_early(node: &Rc<Node>) -> Result<(), String> {
    let takes_part = node.shard.borrow().replica().is_some();
    if takes_part {
        start::stop(node).await;
    }
    Ok(())
}

/// What the banner warns of.
fn warnings(exposure: Exposure) -> Vec<String> {
    match exposure {
        Exposure::Open => vec![
            "WARNING: 'insecure yes' and no password: everybody who reaches this port reads and changes everything"
                .to_owned(),
        ],
        Exposure::Local | Exposure::Password => Vec::new(),
    }
}

fn facts(host: &Host, assembled: &Assembled) -> NodeFacts {
    let process = host.facts();
    let mut run_id = [0; 20];
    host.rng("run id").fill_bytes(&mut run_id);
    let clock = host.clock();
    NodeFacts {
        process_id: process.process_id,
        port: assembled.config.settings().port,
        run_id: run_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        executable: process.executable,
        allocator: if cfg!(feature = "jemalloc") { "jemalloc" } else { "mimalloc" },
        config_file: assembled.file.clone().unwrap_or_default(),
        data_directory: String::from_utf8_lossy(&assembled.config.settings().dir).into_owned(),
        operating_system: process.system,
        started_at: Now { monotonic_ns: clock.monotonic_ns(), wall_us: clock.wall_us() },
        total_system_memory_bytes: process.memory_total_bytes,
    }
}

fn tell_report(report: &ramkeep_log::Report) {
    if let Some(reason) = report.torn {
        tracing::warn!(
            bytes = report.cut_bytes,
            frames = report.cut_frames,
            %reason,
            "cut a torn tail off the log: it was being written when the node stopped, and none of it was acknowledged"
        );
    }
    tracing::info!(
        segments = report.segments,
        frames = report.frames,
        written_again = report.rewritten_frames,
        "log replayed"
    );
}
