//! Who callbus is to the broker: a user for each role, with the rights that its part of the work needs and no others.

use anyhow::Context;
use bus::{Bus, ConsumerSpec, NatsConfig, Permissions, SpoolConfig};
use proto::{Kind, Stream};

use crate::cli::Role;
use crate::config::secret::Secret;
use crate::config::{self, Config};
use crate::environment::Environment;

/// The user that makes what the roles need at the broker, and puts the first policies in force.
pub(crate) const PROVISION: &str = "provision";

/// The user that copies the log: it reads everything.
pub(crate) const BACKUP: &str = "backup";
/// The user that puts a copy of the log into an empty broker: it may write everything, so its key is best kept elsewhere.
pub(crate) const RESTORE: &str = "restore";

/// As whom a role works.
pub(crate) fn user(role: Role) -> &'static str {
    role.as_str()
}

/// All users of an installation.
pub(crate) fn users() -> Vec<(&'static str, Permissions)> {
    let process = || Permissions::default().asks("health.v1.>").serves("health.v1.>", "health");
    let ingress = process()
        .writes_calls(&[Kind::Ice, Kind::Ace, Kind::Pie, Kind::Dice, Kind::Notify, Kind::Unknown, Kind::Decided])
        .asks("ask.v1.>")
        .serves("ingress.v1.>", "ingress");
    let worker = process()
        .serves("ask.v1.>", "workers")
        .serves_each("policy.v1.status")
        .asks("decide.v1.>")
        .reads(Stream::Config)
        .reads(Stream::Wallets)
        // How far billing is, before a wallet is loaded.
        .reads(Stream::Calls)
        .reads_checkpoints()
        .reads_documents()
        .writes_calls(&[Kind::Emitted]);
    let worker = workers::consumers().iter().fold(worker, consumes);
    let billing = process()
        .serves("billing.v1.>", "billing")
        .reads(Stream::Calls)
        .reads(Stream::Wallets)
        .writes(Stream::Wallets)
        .writes_calls(&[Kind::Asked, Kind::Settled])
        .keeps_checkpoints()
        // Snapshots of wallets.
        .writes_documents();
    let billing =
        billing::GROUPS.into_iter().flat_map(billing::consumers).fold(billing, |may, spec| consumes(may, &spec));
    let delivery = process()
        .reads(Stream::Calls)
        .reads(Stream::Config)
        .reads(Stream::Deliveries)
        .writes(Stream::Deliveries)
        // Whether a profile answers.
        .writes_profiles()
        .keeps_checkpoints()
        .serves_each("delivery.v1.>")
        .reads_secrets()
        // Who pays for calls that are placed, and by which prices.
        .reads(Stream::Wallets)
        .reads_documents()
        .writes_calls(&[Kind::Dialled, Kind::Progressed]);
    let delivery =
        delivery::GROUPS.into_iter().flat_map(delivery::consumers).fold(delivery, |may, spec| consumes(may, &spec));
    let api = process()
        .asks("billing.v1.>")
        .asks("ingress.v1.>")
        .asks("policy.v1.>")
        .asks("delivery.v1.>")
        .reads(Stream::Calls)
        .reads(Stream::Wallets)
        .reads(Stream::Config)
        // How far billing is, in its groups.
        .reads_checkpoints()
        .reads_dead_letters()
        .reads(Stream::Deliveries)
        .writes(Stream::Config)
        .writes_calls(&[Kind::Placed])
        .writes_documents()
        // Of destinations and profiles. It reads none.
        .writes_secrets("destination")
        .writes_secrets("profile");
    let provision = Permissions::default().provisions().writes(Stream::Config).writes_documents();
    let backup = Stream::ALL.into_iter().fold(Permissions::default(), Permissions::reads);
    let backup = backup.reads_documents().reads_checkpoints().lists_consumers();
    let restore = Stream::ALL.into_iter().fold(Permissions::default(), Permissions::writes);
    let restore = restore.provisions().writes_documents().keeps_checkpoints();
    vec![
        (user(Role::Ingress), ingress),
        (user(Role::Worker), worker),
        (user(Role::Billing), billing),
        (user(Role::Delivery), delivery),
        (user(Role::Views), process().reads(Stream::Calls).reads(Stream::Wallets).reads(Stream::Deliveries)),
        (user(Role::Api), api),
        (PROVISION, provision),
        (BACKUP, backup),
        (RESTORE, restore),
    ]
}

fn consumes(permissions: Permissions, spec: &ConsumerSpec) -> Permissions {
    permissions.consumes(spec.filter.stream(), &spec.name)
}

/// The durable consumers of callbus itself, billing and delivery each in so many groups.
pub(crate) fn consumers(billing_groups: u8, delivery_groups: u8) -> Vec<ConsumerSpec> {
    let groups = billing::consumers(billing_groups).into_iter().chain(delivery::consumers(delivery_groups));
    workers::consumers().into_iter().chain(groups).collect()
}

/// A connection for a process that works as this user.
///
/// # Errors
/// When its key cannot be read, or the broker cannot be reached or is not one that callbus can work on.
pub(crate) async fn connect(
    nats: &config::Nats,
    user: &str,
    environment: &Environment,
    spool: Option<SpoolConfig>,
) -> anyhow::Result<Bus> {
    let config = identity(nats, user, environment)?;
    // Where users have rights of their own, only one of them may make streams.
    let provisions = config.nkey_seed.is_none();
    Ok(Bus::nats(NatsConfig { provisions, spool, ..config }).await?)
}

/// A connection for an operator: as the user that may make what is missing.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_to_provision(nats: &config::Nats, environment: &Environment) -> anyhow::Result<Bus> {
    Ok(Bus::nats(identity(nats, PROVISION, environment)?).await?)
}

/// A connection for an operator who puts a backup into an empty broker, and makes what it needs there.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_to_restore(nats: &config::Nats, environment: &Environment) -> anyhow::Result<Bus> {
    Ok(Bus::nats(NatsConfig { provisions: true, ..identity(nats, RESTORE, environment)? }).await?)
}

/// How a user comes to the broker. Whether it makes what is missing is the caller's to say; here it does not.
fn identity(nats: &config::Nats, user: &str, environment: &Environment) -> anyhow::Result<NatsConfig> {
    let host: String = environment.host().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let nkey_seed = match &nats.nkey_file {
        Some(file) => {
            let seed = Secret::File(file.clone()).read();
            Some(seed.map_err(|(cause, todo)| anyhow::anyhow!("[bus] nkey_file: {cause}; {todo}: `callbus keys`"))?)
        }
        None => None,
    };
    Ok(NatsConfig {
        url: nats.url.clone(),
        client_name: format!("callbus-{user}-{host}-{}", std::process::id()),
        user: user.to_owned(),
        provisions: false,
        nkey_seed,
        ca_file: nats.ca_file.clone(),
        replicas: nats.replicas,
        spool: None,
    })
}

/// The settings of the broker this installation works on.
///
/// # Errors
/// When it works on none.
pub(crate) fn settings(config: &Config) -> anyhow::Result<&config::Nats> {
    match &config.bus {
        config::Bus::Nats(nats) => Ok(nats),
        config::Bus::Embedded => Err(anyhow::anyhow!("the bus is embedded: there is no broker"))
            .context("set [bus] kind = \"nats\" with its url"),
    }
}
