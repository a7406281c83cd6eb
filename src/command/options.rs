//! The options of each verb, of its part of the command line. Pure.

use super::progress::Progress;
use super::{
    attach, check, copy, debug, describe, events, exec, get, get_volumes, images, logs, port_forward, prune,
    timeline,
};
use crate::cli::{self, Described, Output, Resource};

/// What `gantry get` gets.
pub(super) enum Getting {
    Objects(get::Options),
    Volumes(get_volumes::Options),
}

pub(super) fn get_options(asked: cli::Get) -> Getting {
    let what = match asked.resource {
        Resource::Pods => get::What::Pods(asked.names),
        Resource::Node => get::What::Node,
        Resource::Volumes => {
            return Getting::Volumes(get_volumes::Options {
                pods: asked.names,
                namespace: asked.namespace,
                all_namespaces: asked.all_namespaces,
                output: output(asked.output),
            });
        }
    };
    Getting::Objects(get::Options {
        what,
        namespace: asked.namespace,
        all_namespaces: asked.all_namespaces,
        output: output(asked.output),
    })
}

pub(super) fn describe_options(asked: cli::Describe) -> describe::Options {
    describe::Options {
        what: match asked.resource {
            Described::Pods => describe::What::Pods(asked.names),
            Described::Node => describe::What::Node,
        },
        namespace: asked.namespace,
    }
}

pub(super) fn events_options(asked: cli::events::Events) -> events::Options {
    events::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        watch: asked.watch,
        kind: asked.r#type,
        output: asked.output,
    }
}

pub(super) fn timeline_options(asked: cli::timeline::Timeline) -> timeline::Options {
    timeline::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        form: match asked.output {
            None => timeline::Form::Picture,
            Some(cli::timeline::Output::Json) => timeline::Form::Json,
        },
    }
}

pub(super) fn logs_options(asked: cli::Logs) -> logs::Options {
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

pub(super) fn exec_options(asked: cli::Exec) -> exec::Options {
    exec::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        container: asked.container,
        stdin: asked.stdin,
        tty: asked.tty,
        command: asked.command,
    }
}

pub(super) fn attach_options(asked: cli::Attach) -> attach::Options {
    attach::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        container: asked.container,
        stdin: asked.stdin,
        tty: asked.tty,
    }
}

pub(super) fn port_forward_options(asked: cli::PortForward) -> port_forward::Options {
    port_forward::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        ports: asked.ports,
        addresses: asked.address,
    }
}

pub(super) fn debug_options(asked: cli::debug::Debug) -> debug::Options {
    debug::Options {
        pod: asked.pod,
        namespace: asked.namespace,
        image: asked.image,
        container: asked.container,
        target: asked.target,
        stdin: asked.stdin,
        tty: asked.tty,
        profile: asked.profile,
        env: asked.env,
        command: asked.command,
    }
}

pub(super) fn copy_options(asked: cli::copy::Cp, progress: Progress) -> copy::Options {
    copy::Options {
        source: asked.source,
        destination: asked.destination,
        namespace: asked.namespace,
        container: asked.container,
        ownership: match asked.no_preserve {
            true => copy::Ownership::OfTheContainer,
            false => copy::Ownership::Preserved,
        },
        progress,
    }
}

pub(super) fn images_form(asked: Option<cli::images::Output>) -> images::Form {
    match asked {
        None => images::Form::Table,
        Some(cli::images::Output::Wide) => images::Form::Wide,
        Some(cli::images::Output::Json) => images::Form::Json,
    }
}

pub(super) fn prune_options(asked: cli::images::Verb) -> prune::Options {
    let cli::images::Verb::Prune(asked) = asked;
    prune::Options {
        mode: match (asked.dry_run, asked.yes) {
            (true, _) => prune::Mode::DryRun,
            (false, true) => prune::Mode::Remove,
            (false, false) => prune::Mode::Ask,
        },
        ended_pods: match asked.ended_pods {
            true => prune::EndedPods::Cleared,
            false => prune::EndedPods::Kept,
        },
    }
}

pub(super) fn check_options(asked: cli::Check) -> check::Options {
    check::Options {
        paths: asked.paths,
        form: asked.output,
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
