//! Dispatches the parsed command line to its subcommand.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;

use super::client::Client;
use super::table::printable;
use super::{
    CommandError, attach, check, cleanup, completions, describe, doctor, exec, get, join, kubeconfig, logs,
    port_forward, reset, start, version,
};
use crate::cli::{self, Cli, Command, Output, Resource};
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
        Command::Get(asked) => {
            let (options, now) = (get_options(asked), Timestamp::now());
            wait(get::run(
                &client,
                &options,
                now,
                &mut io::stdout(),
                &mut io::stderr(),
            ))
        }
        Command::Describe(asked) => {
            let options = describe_options(asked);
            wait(describe::run(
                &client,
                &options,
                Timestamp::now(),
                &mut io::stdout(),
            ))
        }
        Command::Logs(asked) => {
            let options = logs_options(asked);
            wait(async { logs::run(&client, &options, &mut tokio::io::stdout(), &mut io::stderr()).await })
        }
        Command::Exec(asked) => finish(exec::run(&client, &exec_options(asked))),
        Command::Attach(asked) => finish(attach::run(&client, &attach_options(asked))),
        Command::PortForward(asked) => {
            let options = port_forward_options(asked);
            wait(port_forward::run(&client, &options, &mut io::stdout()))
        }
        Command::Kubeconfig => print_kubeconfig(&client),
        Command::Doctor(asked) => {
            let config = start::configuration(Role::Run, &given)?;
            let sound = single()?.block_on(doctor::doctor(&config, asked.output, &mut io::stdout()))?;
            Ok(code(sound))
        }
        Command::Check(asked) => Ok(checked(&given, &check_options(asked))),
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
    }
}

/// The exit code of a verb that answers yes or no.
fn code(yes: bool) -> ExitCode {
    match yes {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn print_kubeconfig(client: &Client) -> anyhow::Result<ExitCode> {
    kubeconfig::run(client.socket(), &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn get_options(asked: cli::Get) -> get::Options {
    get::Options {
        what: match asked.resource {
            Resource::Pods => get::What::Pods(asked.names),
            Resource::Node => get::What::Node,
        },
        namespace: asked.namespace,
        all_namespaces: asked.all_namespaces,
        output: output(asked.output),
    }
}

fn describe_options(asked: cli::Describe) -> describe::Options {
    describe::Options {
        what: match asked.resource {
            Resource::Pods => describe::What::Pods(asked.names),
            Resource::Node => describe::What::Node,
        },
        namespace: asked.namespace,
    }
}

fn logs_options(asked: cli::Logs) -> logs::Options {
    logs::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        container: asked.container,
        follow: asked.follow,
        previous: asked.previous,
        tail: asked.tail,
        since: asked.since,
        timestamps: asked.timestamps,
        ..logs::Options::default()
    }
}

fn exec_options(asked: cli::Exec) -> exec::Options {
    exec::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        container: asked.container,
        stdin: asked.stdin,
        tty: asked.tty,
        command: asked.command,
    }
}

fn attach_options(asked: cli::Attach) -> attach::Options {
    attach::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        container: asked.container,
        stdin: asked.stdin,
        tty: asked.tty,
    }
}

fn port_forward_options(asked: cli::PortForward) -> port_forward::Options {
    port_forward::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        ports: asked.ports,
        addresses: asked.address,
    }
}

fn check_options(asked: cli::Check) -> check::Options {
    check::Options {
        paths: asked.paths,
        form: asked.output,
    }
}

fn join_cluster(asked: cli::Join) -> anyhow::Result<ExitCode> {
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

fn output(asked: Option<Output>) -> get::Output {
    match asked {
        None => get::Output::Table,
        Some(Output::Wide) => get::Output::Wide,
        Some(Output::Json) => get::Output::Json,
        Some(Output::Yaml) => get::Output::Yaml,
        Some(Output::Name) => get::Output::Name,
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
