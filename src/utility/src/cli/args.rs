//! The command line as data. The names are a contract: add, do not rename.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use backstay_core::model::{ClusterName, NodeName, ServiceName};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::failure::EXIT_HELP;
use crate::remote::Contact;

/// Keeps services running when a server fails: one standby node stands in for up to ten.
///
/// Without a command the menu opens.
#[derive(Debug, Parser)]
#[command(name = "backstay", version = backstay_core::VERSION, after_help = EXIT_HELP, max_term_width = 80)]
pub struct Arguments {
    /// What to do; nothing: the menu opens.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// A node to ask, [USER@]HOST[:PORT]; repeatable, the first that answers serves
    #[arg(long, global = true, value_name = "HOST")]
    pub contact: Vec<Contact>,
    /// Key file for SSH; repeatable. Else ssh-agent and ~/.ssh/id_*
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// A host to go through, [USER@]HOST[:PORT]
    #[arg(long, short = 'J', global = true, value_name = "HOST")]
    pub jump: Option<Contact>,
    /// Host keys to trust, in the form of `known_hosts`
    #[arg(long, global = true, value_name = "FILE")]
    pub known_hosts: Option<PathBuf>,
    /// Fingerprint of a host key to trust (SHA256:...); repeatable
    #[arg(long, global = true, value_name = "PRINT", value_parser = crate::remote::hostkey::fingerprint)]
    pub host_key: Vec<String>,
    /// Where the nodes are remembered [default: ~/.config/backstay/contacts.toml]
    #[arg(long, global = true, value_name = "FILE", env = "BACKSTAY_CONTACTS")]
    pub contacts: Option<PathBuf>,
    /// The socket of this machine's agent
    #[arg(long, global = true, value_name = "FILE", default_value = crate::remote::SOCKET_PATH, hide = true)]
    pub socket: PathBuf,
    /// Talk to the hosts of the lab, from its client's network
    #[arg(long, global = true)]
    pub lab: bool,
    /// Log in as a viewer: with a key that may look and change nothing
    #[arg(long, global = true)]
    pub viewer: bool,
    /// Filled in for the lab without root.
    #[arg(skip)]
    pub sockets: crate::remote::Sockets,
    /// Text for people or JSON for programs
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Answer yes to the question whether to go on
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Show what would be done and what would come of it, then stop
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Override every named warning (never a rule)
    #[arg(long, global = true)]
    pub force: bool,
    /// Override this warning; repeatable
    #[arg(long, global = true, value_name = "NAME")]
    pub ignore_check: Vec<String>,
    /// Install the packages that services need on nodes that lack them, by apt-get there; without it you are asked
    #[arg(long, global = true)]
    pub install_packages: bool,
    /// How long to wait, as `90s` or `5m`: for a change to come about [2m], for each node that is asked
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// Never ask anything
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Say more; twice: everything
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what was asked for
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show clusters, nodes and services, and what to do now
    Status {
        /// Only this cluster
        cluster: Option<ClusterName>,
        /// Go on showing it until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Nodes of the system
    #[command(subcommand)]
    Node(NodeVerb),
    /// Clusters
    #[command(subcommand)]
    Cluster(Box<ClusterVerb>),
    /// Services
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Guided first-time set-up: from bare hosts to a healthy cluster
    Setup {
        /// Answer out of this file instead of asking
        #[arg(long, value_name = "FILE")]
        answers: Option<PathBuf>,
        /// Write the answers to this file (no secrets)
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        /// Numbered plain lines, for screen readers
        #[arg(long)]
        plain: bool,
    },
    /// Bring a cluster to a written document, after showing the difference
    Apply {
        /// The document, as `backstay cluster show` gives it; `-`: standard input
        #[arg(long, short = 'f', value_name = "FILE")]
        file: PathBuf,
    },
    /// Alarms
    #[command(subcommand)]
    Alarm(AlarmVerb),
    /// Decisions and failovers as timelines
    History {
        /// Only this service
        service: Option<ServiceName>,
        /// Go on with new ones until interrupted
        #[arg(long)]
        follow: bool,
        /// At most so many of each node, the newest
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Who did what, from where, with what result
    Audit {
        /// At most so many of each node, the newest
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Keys: those that nodes sign with what they tell each other, and those that may look and change nothing
    #[command(subcommand)]
    Key(KeyVerb),
    /// Write a support bundle: status, documents, history, audit and logs of every node, without secrets
    Collect {
        /// Where to [default: backstay-support-TIME.tar.gz here]
        #[arg(long, value_name = "FILE")]
        output_file: Option<PathBuf>,
    },
    /// What the rules say that messages name, like (S1)
    Rule {
        /// Which; without one all of them
        #[arg(value_name = "ID")]
        ids: Vec<String>,
    },
    /// Several real hosts on this machine, for demonstration and tests
    #[command(subcommand)]
    Lab(super::lab::LabVerb),
}

/// Nodes of the system.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// All nodes
    List,
    /// One node and its machine
    Show {
        /// Which
        node: NodeName,
    },
    /// Install the agent on a machine and make it a node
    Add {
        /// [USER@]HOST[:PORT]; the user is root where none is named
        host: Contact,
        /// The node's name
        #[arg(long)]
        name: NodeName,
    },
    /// Take a free node out of the system
    Remove {
        /// Which
        node: NodeName,
    },
    /// Put a new machine in the place of a dead node: its name, its base address, its part in the cluster
    Replace {
        /// Which
        node: NodeName,
        /// The new machine: [USER@]HOST[:PORT]; the user is root where none is named
        #[arg(long, value_name = "[USER@]HOST[:PORT]")]
        with: Contact,
    },
    /// Make a free node a standby or witness, or free again
    Role {
        /// Which
        node: NodeName,
        /// What it shall be
        role: RoleArgument,
    },
    /// Say that you work on a node: what it carries is locked there or moved away, its alarms are quiet, and it
    /// ends by itself
    Maintenance {
        /// Which
        node: NodeName,
        /// Ends by itself after this time, as `30m` (at most 7 days)
        #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
        time: Duration,
        /// The work has ended
        #[arg(long, conflicts_with_all = ["time", "moves", "reason"])]
        end: bool,
        /// Move what it carries to another node, instead of locking it there
        #[arg(long = "move")]
        moves: bool,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Put the agent that came with this program on nodes, one after the other, each left only when it is well
    Upgrade {
        /// Which
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        nodes: Vec<NodeName>,
        /// Every node of the system
        #[arg(long)]
        all: bool,
    },
    /// Check a node's machine
    Check {
        /// Which
        node: NodeName,
    },
}

/// Roles that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArgument {
    /// Nothing yet
    Free,
    /// Stands in
    Standby,
    /// Votes and watches
    Witness,
}

/// Automatic or manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FallbackArgument {
    /// As soon as home has recovered
    #[value(alias = "automatic")]
    Auto,
    /// On an order
    Manual,
}

/// Automatic or ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailoverArgument {
    /// A failure moves it
    #[value(alias = "automatic")]
    Auto,
    /// Only an order moves it
    Ordered,
}

/// How fast a failure is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileArgument {
    /// 0.3 s
    Fast,
    /// 3 s
    Lan,
    /// 15 s, for guests that are paused now and then
    Vm,
    /// 30 s
    Wan,
}

/// Whether two holders are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SafetyArgument {
    /// Both may run while the network is cut
    Available,
    /// Never two
    Exclusive,
}

/// Who stops after a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitStopsArgument {
    /// Home
    Home,
    /// The standby
    Standby,
}

/// What a holder does without a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WithoutMajorityArgument {
    /// It stops
    Stop,
    /// It goes on: two holders are possible
    Keep,
}

/// An address or `gateway`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference(pub Option<IpAddr>);

impl std::str::FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "gateway" {
            return Ok(Self(None));
        }
        let address = text.parse();
        address
            .map(|a| Self(Some(a)))
            .map_err(|_| "use an IP address, or `gateway` for the default gateway".to_owned())
    }
}

/// Clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// All clusters
    List,
    /// One cluster as it is written
    Show {
        /// Which
        cluster: ClusterName,
        /// As the command lines that make one like it
        #[arg(long)]
        as_commands: bool,
    },
    /// Make a cluster of one standby and up to ten homes of services
    Create {
        /// Its name
        cluster: ClusterName,
        /// A node with the role standby
        #[arg(long, value_name = "NODE")]
        standby: NodeName,
        /// A node with the role witness; repeatable
        #[arg(long, value_name = "NODE")]
        witness: Vec<NodeName>,
        /// S=NODE,alias=ADDR,base=ADDR[,priority=P][,fallback=auto|manual][,unit=U]..[,file=PATH]..; repeatable
        #[arg(long, required = true, value_name = "SPEC")]
        service: Vec<super::spec::ServiceSpec>,
        /// Settings
        #[command(flatten)]
        settings: CreateSettings,
    },
    /// End a cluster; its aliases stay where they are as ordinary addresses
    Delete {
        /// Which
        cluster: ClusterName,
    },
    /// Let a free node join with its services
    AddNode {
        /// Which cluster
        cluster: ClusterName,
        /// Which node
        node: NodeName,
        /// As for `create`; repeatable
        #[arg(long, required = true, value_name = "SPEC")]
        service: Vec<super::spec::ServiceSpec>,
    },
    /// Take a node out; the last regular one ends the cluster
    RemoveNode {
        /// Which cluster
        cluster: ClusterName,
        /// Which node
        node: NodeName,
    },
    /// Change settings
    Set {
        /// Which cluster
        cluster: ClusterName,
        /// Settings
        #[command(flatten)]
        settings: SetSettings,
    },
}

/// Settings of a new cluster.
#[derive(Clone, Debug, Args)]
pub struct CreateSettings {
    /// How services return home
    #[arg(long, value_enum, default_value = "manual")]
    pub fallback: FallbackArgument,
    /// How fast a failure is seen
    #[arg(long, value_enum, default_value = "lan")]
    pub profile: ProfileArgument,
    /// Whether two holders are possible while the network is cut
    #[arg(long, value_enum)]
    pub safety: Option<SafetyArgument>,
    /// Who stops when two holders see each other again
    #[arg(long, value_enum, default_value = "home")]
    pub split_stops: SplitStopsArgument,
    /// An address that answers only if one's own link works, or `gateway`
    #[arg(long, default_value = "gateway", value_name = "ADDR")]
    pub reference: Reference,
    /// Another network for beats, on which each node has an address: 198.51.100.0/24; repeatable
    #[arg(long, value_name = "SUBNET")]
    pub link: Vec<IpNet>,
}

/// New settings of a cluster.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SetSettings {
    /// How services return home
    #[arg(long, value_enum)]
    pub fallback: Option<FallbackArgument>,
    /// How fast a failure is seen
    #[arg(long, value_enum)]
    pub profile: Option<ProfileArgument>,
    /// Whether two holders are possible while the network is cut
    #[arg(long, value_enum)]
    pub safety: Option<SafetyArgument>,
    /// Who stops when two holders see each other again
    #[arg(long, value_enum)]
    pub split_stops: Option<SplitStopsArgument>,
    /// What a holder does that hears no majority
    #[arg(long, value_enum)]
    pub without_majority: Option<WithoutMajorityArgument>,
    /// etcd as arbiter; empty: none
    #[arg(long, value_name = "URL")]
    pub arbiter: Option<String>,
    /// An address that answers only if one's own link works, or `gateway`
    #[arg(long, value_name = "ADDR")]
    pub reference: Option<Reference>,
    /// How long home must have been healthy before a service returns by itself, as `5m` (at most a day)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub home_healthy: Option<Duration>,
    /// Clocks that differ by more are an alarm, as `1s` (50ms to 1h)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub clocks_within: Option<Duration>,
    /// After so many moves within an hour a service no longer returns by itself (1 to 20)
    #[arg(long, value_name = "N")]
    pub moves_per_hour: Option<u16>,
    /// Beats use this network, too; each node has an address there: 198.51.100.0/24; repeatable
    #[arg(long, value_name = "SUBNET")]
    pub link: Vec<IpNet>,
    /// Beats no longer use this network; repeatable
    #[arg(long, value_name = "SUBNET")]
    pub no_link: Vec<IpNet>,
}

/// Services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// All services
    List,
    /// One service
    Show {
        /// Which
        service: ServiceName,
    },
    /// Change settings
    Set {
        /// Which
        service: ServiceName,
        /// Settings
        #[command(flatten)]
        settings: ServiceSettings,
    },
    /// Move a service to another of its nodes
    Move {
        /// Which
        service: ServiceName,
        /// `home`, `standby` or a node
        #[arg(long, value_name = "NODE")]
        to: String,
    },
    /// Pin a service to the node where it runs
    Lock {
        /// Which
        service: ServiceName,
        /// Ends by itself after this time, as `30m`
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let a service move again
    Unlock {
        /// Which
        service: ServiceName,
    },
    /// Start a stopped service
    Start {
        /// Which
        service: ServiceName,
        /// Where
        #[arg(long, value_name = "NODE")]
        on: Option<NodeName>,
    },
    /// Stop a service on every node until it is started
    Stop {
        /// Which
        service: ServiceName,
    },
}

/// New settings of a service.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub struct ServiceSettings {
    /// Lower is more important
    #[arg(long)]
    pub priority: Option<u16>,
    /// How it returns home
    #[arg(long, value_enum)]
    pub fallback: Option<FallbackArgument>,
    /// Whether a failure moves it
    #[arg(long, value_enum)]
    pub failover: Option<FailoverArgument>,
    /// A static file that must be the same on all its nodes, by full path; repeatable
    #[arg(long, value_name = "PATH")]
    pub file: Vec<String>,
    /// A file that may differ from now on; repeatable
    #[arg(long, value_name = "PATH")]
    pub no_file: Vec<String>,
}

/// Keys.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Exchange a cluster's key while everything runs; after an interruption it goes on from there
    Rotate {
        /// Which; without one all of them
        cluster: Option<ClusterName>,
    },
    /// SSH keys that may look and change nothing
    #[command(subcommand)]
    Viewer(ViewerVerb),
}

/// SSH keys that may look and change nothing (U11).
#[derive(Debug, Subcommand)]
pub enum ViewerVerb {
    /// Whose keys there are
    List,
    /// Let a key look, on every node; it is used with --viewer
    Add {
        /// File of the public key, `-` for standard input, or the key itself in quotes
        #[arg(value_name = "FILE")]
        key: String,
        /// Whose it is [default: the key's comment]
        #[arg(long, value_name = "WHO")]
        name: Option<String>,
    },
    /// Let a key look no more
    Remove {
        /// Whose
        #[arg(value_name = "WHO")]
        name: String,
    },
}

/// Alarms.
#[derive(Debug, Subcommand)]
pub enum AlarmVerb {
    /// All alarms
    List,
}
