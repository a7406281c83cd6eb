//! Dispatches the parsed command line to its subcommand.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::beside::Beside;
use super::client::Client;
use super::options::Getting;
use super::progress::Progress;
use super::table::printable;
use super::top::state::Containers;
use super::{
    CommandError, attach, beside, check, cleanup, completions, copy, debug, describe, doctor, events, exec,
    get, get_volumes, image_work, images, join, kubeconfig, logs, options, peer, port_forward, prune, reset,
    start, terminal, timeline, top, version,
};
use crate::cli::{self, Cli, Command};
use crate::config::Role;
use crate::config::layers::FlagValues;
use crate::model::error_chain::chain;

/// Runs the command line.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let client = Client::new(cli.socket());
    let given = cli.given();
    match cli.command {
        Command::Run(_) => start::start(Role::Run, &given),
        Command::Kubelet(_) => start::start(Role::Kubelet, &given),
        Command::Doctor(asked) => {
            let config = start::configuration(Role::Run, &given)?;
            let sound = single()?.block_on(doctor::doctor(&config, asked.output, &mut io::stdout()))?;
            Ok(code(sound))
        }
        Command::Check(asked) => Ok(checked(&given, &options::check_options(asked))),
        Command::Cleanup(asked) => {
            let config = start::configuration(Role::Run, &given)?;
            match asked.yes || confirmed()? {
                true => clean_up(&config),
                false => Ok(ExitCode::FAILURE),
            }
        }
        Command::Join(asked) => join_cluster(asked),
        Command::Reset(asked) => reset_node(asked.yes),
        Command::Version(asked) => shown(io::stdout().write_all(version::own(asked.output).as_bytes())),
        Command::Completions(asked) => shown(completions::completions(asked.shell, &mut io::stdout())),
        Command::Man(asked) => {
            completions::man_pages(&asked.directory)
                .with_context(|| format!("cannot write man pages to {}", asked.directory.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        command => ask_agent(&client, command),
    }
}

/// Runs a verb that the running agent answers.
fn ask_agent(client: &Client, command: Command) -> anyhow::Result<ExitCode> {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    match command {
        Command::Get(asked) => {
            let now = Timestamp::now();
            match options::get_options(asked) {
                Getting::Objects(options) => wait(get::run(client, &options, now, &mut out, &mut err)),
                Getting::Volumes(options) => {
                    wait(get_volumes::run(client, &options, now, &mut out, &mut err))
                }
            }
        }
        Command::Describe(asked) => {
            let (options, now) = (options::describe_options(asked), Timestamp::now());
            wait(describe::run(client, &options, now, &mut out))
        }
        Command::Events(asked) => {
            let options = options::events_options(asked);
            wait(events::run(client, &options, &mut out))
        }
        Command::Top(asked) => watched(client, asked),
        Command::Timeline(asked) => {
            let options = options::timeline_options(asked);
            wait(timeline::run(client, &options, &mut out))
        }
        Command::Logs(asked) => {
            let options = options::logs_options(asked);
            wait(async { logs::run(client, &options, &mut tokio::io::stdout(), &mut err).await })
        }
        Command::Exec(asked) => finish(exec::run(client, &options::exec_options(asked))),
        Command::Attach(asked) => finish(attach::run(client, &options::attach_options(asked))),
        Command::Debug(asked) => finish(debug::run(client, &options::debug_options(asked))),
        Command::Cp(asked) => {
            // Its messages are those of the container's tar, which no line of progress may be mixed with.
            let progress = match progress(false) {
                Progress::Lines => Progress::Hidden,
                progress => progress,
            };
            let options = options::copy_options(asked, progress);
            finish(async { copy::run(client, &options, &mut err).await.map(|()| 0) })
        }
        command @ (Command::Images(_) | Command::Pull(_) | Command::Import(_)) => of_images(client, command),
        Command::PortForward(asked) => {
            let options = options::port_forward_options(asked);
            wait(port_forward::run(client, &options, &mut out))
        }
        Command::Kubeconfig => print_beside(client, &kubeconfig::FILE),
        Command::Peer => print_beside(client, &peer::FILE),
        _ => unreachable!("`run` has run the other verbs"),
    }
}

/// Runs a verb that is about images.
fn of_images(client: &Client, command: Command) -> anyhow::Result<ExitCode> {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    match command {
        Command::Images(asked) => {
            let (form, now) = (options::images_form(asked.output), Timestamp::now());
            match asked.verb.map(options::prune_options) {
                None => wait(images::run(client, form, now, &mut out)),
                Some(options) => finish(async {
                    let mut input = io::stdin().lock();
                    prune::run(client, options, now, &mut input, &mut out).await
                }),
            }
        }
        Command::Pull(asked) => {
            let shown = shown_of_work(asked.quiet);
            finish(image_work::pull(
                client,
                &asked.image,
                shown,
                (&mut out, &mut err),
            ))
        }
        Command::Import(asked) => {
            let shown = shown_of_work(asked.quiet);
            finish(image_work::import(
                client,
                &asked.archives,
                shown,
                (&mut out, &mut err),
            ))
        }
        _ => unreachable!("`ask_agent` runs the other verbs"),
    }
}

/// Where progress is shown.
fn progress(quiet: bool) -> Progress {
    match terminal::message_width() {
        _ if quiet => Progress::Hidden,
        Some(columns) => Progress::Redrawn { columns },
        None => Progress::Lines,
    }
}

fn shown_of_work(quiet: bool) -> image_work::Shown {
    image_work::Shown {
        progress: progress(quiet),
        result: !quiet,
    }
}

/// The exit code of a verb that answers yes or no.
fn code(yes: bool) -> ExitCode {
    match yes {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn print_beside(client: &Client, file: &Beside) -> anyhow::Result<ExitCode> {
    beside::run(client.socket(), file, &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// How long `gantry top` measures if nothing else is said.
const ONCE: Duration = Duration::from_secs(1);
/// How often its live view does.
const LIVE: Duration = Duration::from_secs(2);

fn watched(client: &Client, asked: cli::top::Top) -> anyhow::Result<ExitCode> {
    let containers = match asked.containers {
        true => Containers::Shown,
        false => Containers::Hidden,
    };
    let usual = if asked.once { ONCE } else { LIVE };
    let options = top::options::Options {
        namespace: asked.namespace,
        sort: asked.sort,
        containers,
        interval: asked.interval.unwrap_or(usual),
    };
    if !asked.once {
        let code = single()?.block_on(top::live::run(client, &options))?;
        return Ok(ExitCode::from(code));
    }
    let form = match asked.output {
        None => top::once::Form::Table,
        Some(cli::top::Output::Wide) => top::once::Form::Wide,
        Some(cli::top::Output::Json) => top::once::Form::Json,
    };
    wait(top::once::run(client, &options, form, &mut io::stdout()))
}

fn join_cluster(asked: cli::join::Join) -> anyhow::Result<ExitCode> {
    root("joining")?;
    let machine = join::Machine::here()?;
    let asked = join::Asked {
        endpoint: asked.endpoint,
        token: asked.token,
        pins: asked.discovery_token_ca_cert_hash,
        unsafe_skip: asked.discovery_token_unsafe_skip_ca_verification,
        discovery_file: asked.discovery_file,
        node_name: asked.node_name,
    };
    single()?.block_on(join::run(&asked, &machine, &mut io::stdout()))?;
    Ok(ExitCode::SUCCESS)
}

fn reset_node(yes: bool) -> anyhow::Result<ExitCode> {
    root("resetting")?;
    if !yes && !confirmed()? {
        return Ok(ExitCode::FAILURE);
    }
    let (places, systemctl) = (join::files::Places::here(), join::service::Systemctl::here());
    single()?.block_on(reset::run(&places, &systemctl, &mut io::stdout()))?;
    Ok(ExitCode::SUCCESS)
}

/// Checks manifests. Unreadable input has a different exit code than manifests that would not run.
fn checked(given: &[FlagValues], options: &check::Options) -> ExitCode {
    let outcome = check::node(given, &mut io::stderr())
        .and_then(|node| Ok(check::run(&node, options, Timestamp::now(), &mut io::stdout())?));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be closed; the exit code is enough.
            let _ = writeln!(io::stderr(), "gantry: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A verb needs one thread.
fn single() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a thread")
}

fn wait(verb: impl Future<Output = Result<(), CommandError>>) -> anyhow::Result<ExitCode> {
    single()?.block_on(verb)?;
    Ok(ExitCode::SUCCESS)
}

/// Carries a command's streams and exits with its code. A thread that cannot be stopped reads standard input, so the
/// process ends here.
fn finish(session: impl Future<Output = Result<u32, CommandError>>) -> anyhow::Result<ExitCode> {
    let code = match single()?.block_on(session) {
        Ok(code) => code,
        Err(error) => {
            let code = error.exit_code();
            // Standard error may be closed; the exit code is enough.
            let _ = writeln!(io::stderr(), "gantry: {}", printable(&chain(&error)));
            code
        }
    };
    std::process::exit(i32::try_from(code).unwrap_or(1));
}

fn shown(written: io::Result<()>) -> anyhow::Result<ExitCode> {
    match written {
        // A closed pipe is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => {
            written.context("cannot write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn root(what: &str) -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    anyhow::bail!("{what} requires root: use sudo")
}

fn confirmed() -> anyhow::Result<bool> {
    let mut out = io::stdout();
    write!(
        out,
        "This removes all pods of this machine, their network and their files. Type yes to continue: "
    )?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn clean_up(config: &crate::config::Config) -> anyhow::Result<ExitCode> {
    root("cleaning up")?;
    let summary = single()?.block_on(cleanup::run(config))?;
    let mut out = io::stdout();
    writeln!(
        out,
        "removed {} pods and {} images, the pods' network, cgroups and files",
        summary.pods, summary.images
    )?;
    for failure in &summary.failures {
        writeln!(io::stderr(), "left: {failure}")?;
    }
    Ok(code(summary.failures.is_empty()))
}
