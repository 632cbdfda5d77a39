//! The register of policies: every name that a command line, a log or a result may contain, and how to make the policy.
//!
//! To add a policy, add its file and one entry here.

use std::fmt;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::{Auto, Coarse, Fine, GuardOptions, Order, Policy, Rotate, Stay};

/// The parameters of all policies. Each policy takes those it needs; the daemon and the simulator set them from
/// options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicySettings {
    /// Act on steal: a node's work moves only if others take at least this much of its CPU (algorithm 3-1). `None`:
    /// `coarse` acts on load (algorithm 4-1).
    pub trigger_cpus: Option<f64>,
    /// On load, a node's work stays if it makes up more than this share of the node's load.
    pub useful_share: f64,
    /// No destination is loaded beyond this share of its capacity.
    pub warning_share: f64,
    /// What was picked for a destination moves only if it uses more CPU than this.
    pub min_gain_cpus: f64,
    /// A node of which others take at least this share is a destination only if all candidates are like that.
    pub avoid_share: f64,
    /// Order in which groups are picked.
    pub order: Order,
    /// Number of nodes to which `coarse` and `fine` move work. `None`: 1 and 2, as in the thesis.
    pub destinations: Option<usize>,
    /// Length of a round in seconds. Policies with memory count time in rounds.
    pub round_s: f64,
    /// CPU that one thread of the others uses while it runs, in the view's unit.
    pub others_grain_cpus: f64,
    /// Price of balancing: a group moves if CPU² · seconds per byte exceed this. `None` for the policy's own.
    pub balance_price: Option<f64>,
    /// Bytes per second that moves may take. `None` for the policy's own.
    pub byte_budget: Option<f64>,
}

impl Default for PolicySettings {
    /// The values of the thesis's simulation.
    fn default() -> Self {
        PolicySettings {
            trigger_cpus: None,
            useful_share: 0.8,
            warning_share: 1.0,
            min_gain_cpus: 0.0,
            avoid_share: f64::INFINITY,
            order: Order::default(),
            destinations: None,
            round_s: 60.0,
            others_grain_cpus: 1.0,
            balance_price: None,
            byte_budget: None,
        }
    }
}

impl PolicySettings {
    /// The daemon's defaults under these guards, for rounds of `round_s` seconds.
    pub fn live(guards: Option<&GuardOptions>, round_s: f64) -> Self {
        /// The thesis's trigger without guards: 50 ticks of 10 ms of steal in 2 s.
        const THESIS_TRIGGER_CPUS: f64 = 0.25;

        PolicySettings {
            // With guards, they say what is too much: any pressure may move work then.
            trigger_cpus: Some(if guards.is_some() { f64::MIN_POSITIVE } else { THESIS_TRIGGER_CPUS }),
            // With guards, a node that would be left again is no destination.
            avoid_share: guards.map_or(f64::INFINITY, |guards| guards.enter_share),
            round_s,
            ..PolicySettings::default()
        }
    }
}

/// The two worlds in which policies run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// The daemon.
    Live,
    /// The simulator.
    Simulated,
}

/// One entry of the register.
struct Registered {
    name: &'static str,
    /// One line for `--help`.
    about: &'static str,
    /// The worlds that offer the policy.
    worlds: &'static [World],
    /// Accepted, but not listed: it exercises the machinery and is not meant for real work.
    is_drill: bool,
    /// `--order` changes the policy's decisions, so a comparison has one row per order.
    has_orders: bool,
    make: fn(&PolicySettings) -> Box<dyn Policy>,
}

const BOTH: &[World] = &[World::Live, World::Simulated];

/// In the order in which comparisons and help texts list them.
static REGISTER: [Registered; 5] = [
    Registered {
        name: "none",
        about: "Nothing moves",
        worlds: &[World::Simulated],
        is_drill: false,
        has_orders: false,
        make: |_| Box::new(Stay),
    },
    Registered {
        name: "coarse",
        about: "All of a node's migratable work goes to the least loaded node",
        worlds: BOTH,
        is_drill: false,
        has_orders: false,
        make: |settings| Box::new(Coarse::from(settings)),
    },
    Registered {
        name: "fine",
        about: "Groups go one by one to the two least loaded nodes",
        worlds: BOTH,
        is_drill: false,
        has_orders: true,
        make: |settings| Box::new(Fine::from(settings)),
    },
    Registered {
        name: "auto",
        about: "Each group goes where there is CPU for it, if the move pays; all idle nodes are used",
        worlds: BOTH,
        is_drill: false,
        has_orders: false,
        make: |settings| Box::new(Auto::from(settings)),
    },
    Registered {
        name: "rotate",
        about: "A drill: all migratable work goes to the next node, every round",
        worlds: &[World::Live],
        is_drill: true,
        has_orders: false,
        make: |_| Box::new(Rotate),
    },
];

/// The name of a registered policy.
#[derive(Clone, Copy)]
pub struct PolicyName(&'static Registered);

impl PolicyName {
    /// Nothing moves.
    pub const NONE: PolicyName = PolicyName(&REGISTER[0]);
    /// Algorithms 3-1 and 4-1.
    pub const COARSE: PolicyName = PolicyName(&REGISTER[1]);
    /// Algorithms 4-2 and 4-3.
    pub const FINE: PolicyName = PolicyName(&REGISTER[2]);
    /// Harvests all idle nodes.
    pub const AUTO: PolicyName = PolicyName(&REGISTER[3]);

    /// The policies that a world offers for real work, in the order of comparisons.
    pub fn all(world: World) -> impl Iterator<Item = PolicyName> {
        REGISTER.iter().filter(move |it| it.worlds.contains(&world) && !it.is_drill).map(PolicyName)
    }

    /// The name, as on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Return true if the policy picks groups in an [`Order`].
    pub fn has_orders(self) -> bool {
        self.0.has_orders
    }

    /// Make the policy with these settings.
    pub fn make(self, settings: &PolicySettings) -> Box<dyn Policy> {
        (self.0.make)(settings)
    }

    /// A clap parser for `--policy` that accepts the policies `world` offers.
    pub fn value_parser(world: World) -> impl TypedValueParser<Value = PolicyName> {
        let offered = REGISTER.iter().filter(move |it| it.worlds.contains(&world));
        let values = offered.map(|it| PossibleValue::new(it.name).help(it.about).hide(it.is_drill));
        PossibleValuesParser::new(values).try_map(|name| name.parse::<PolicyName>())
    }
}

impl PartialEq for PolicyName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for PolicyName {}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.name)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyName({})", self.0.name)
    }
}

/// The text names no policy.
#[derive(Debug, thiserror::Error)]
#[error("'{name}' is not a policy; policies are {known}")]
pub struct UnknownPolicy {
    name: String,
    known: String,
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = REGISTER.iter().find(|it| it.name == name);
        found.map(PolicyName).ok_or_else(|| UnknownPolicy {
            name: name.to_owned(),
            known: REGISTER.iter().map(|it| it.name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl serde::Serialize for PolicyName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl<'de> serde::Deserialize<'de> for PolicyName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_registered_under_its_own_name() {
        for entry in &REGISTER {
            assert_eq!(PolicyName(entry).make(&PolicySettings::default()).name(), entry.name);
            assert_eq!(entry.name.parse::<PolicyName>().unwrap(), PolicyName(entry));
        }
        assert_eq!((PolicyName::NONE.as_str(), PolicyName::COARSE.as_str()), ("none", "coarse"));
        assert_eq!((PolicyName::FINE.as_str(), PolicyName::AUTO.as_str()), ("fine", "auto"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_list_of_the_known_ones() {
        let message = "finest".parse::<PolicyName>().unwrap_err().to_string();
        assert!(message.contains("'finest'") && message.contains("none, coarse, fine, auto"), "{message}");
        assert!(serde_json::from_str::<PolicyName>("\"finest\"").is_err());
        assert_eq!(serde_json::to_string(&PolicyName::FINE).unwrap(), "\"fine\"");
    }

    #[test]
    fn drills_are_accepted_but_not_listed() {
        let live: Vec<_> = PolicyName::all(World::Live).map(PolicyName::as_str).collect();
        assert_eq!(live, ["coarse", "fine", "auto"]);
        assert!("rotate".parse::<PolicyName>().is_ok());
    }
}
