//! The main job: a signed callback in, SVAML out, the call billed once. Each story runs in one process on embedded
//! parts, and on NATS and Redis with each role a process.

use anyhow::{Context, Result};
use proto::svaml::Action;
use proto::{CallId, Kind, Outcome};
use simulator::{CallScript, Caller, Endpoint, Hangup, Input, Party, SignWith};
use tests::World;
pub(crate) use tests::load::script;
use tests::world::{ALLOWED, POLICY, WALLET, now};

/// Tells each story twice: embedded, and on servers.
macro_rules! stories {
    ($($policy:expr => $story:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() -> anyhow::Result<()> {
                super::$story(tests::World::embedded($policy).await?).await
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() -> anyhow::Result<()> {
                super::$story(tests::World::nats($policy).await?).await
            })*
        }
    };
}
pub(crate) use stories;

stories! {
    super::POLICY => only_one_number_may_be_called,
    super::POLICY => credit_for_95_seconds_grants_95,
    super::POLICY => credit_for_one_of_two_calls,
    super::POLICY => the_same_ice_twice,
    super::POLICY => copies_of_an_ice_never_spend_each_others_credit,
    super::POLICY => three_dices_one_charge,
    super::POLICY => the_end_before_the_beginning,
    super::POLICY => a_call_nobody_answers_costs_nothing,
    super::MENU => a_menu_leads_to_sales,
}

fn max_duration(answer: &proto::Svaml) -> Option<u32> {
    answer.action.connect_pstn()?.max_duration
}

async fn only_one_number_may_be_called(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(1)?;

    let mut allowed = script(ALLOWED);
    allowed.hangup = Hangup { after_secs: 63, by: Party::Caller };
    let report = platform.call(allowed).await;
    assert_eq!(report.callbacks(), [Kind::Ice, Kind::Ace, Kind::Dice]);
    assert_eq!(max_duration(report.answers()[0]), Some(600));
    assert_eq!(report.answers()[1].action, Action::Continue);
    assert_eq!(report.duration_secs, Some(63));
    let cdr = world.cdr(&report.call).await?;
    assert_eq!(cdr.legs[0].cost.to_string(), "1.26");
    assert_eq!((cdr.legs[0].billed_secs, cdr.refused.as_deref()), (63, None));
    assert_eq!(cdr.supplier_cost.map(|cost| cost.amount), Some(report.debit.amount));

    let refused = platform.call(script("+15551234567")).await;
    assert_eq!(refused.answers()[0].action, Action::Hangup);
    let cdr = world.cdr(&refused.call).await?;
    assert_eq!((cdr.legs.len(), cdr.refused.as_deref()), (0, Some("NOT_ALLOWLISTED")));

    let wallet = world.wallet(WALLET).await?.facts();
    assert_eq!((wallet.posted.to_string(), wallet.held.to_string()), ("98.74".into(), "0".into()));
    Ok(())
}

async fn credit_for_95_seconds_grants_95(world: World) -> Result<()> {
    world.top_up(WALLET, "1.90").await?;
    let platform = world.platform(2)?;
    let mut long = script(ALLOWED);
    long.hangup = Hangup { after_secs: 3600, by: Party::Caller };
    let report = platform.call(long).await;
    assert_eq!(max_duration(report.answers()[0]), Some(95));
    assert_eq!(report.duration_secs, Some(95), "the platform ends the call");
    let decided = world.decisions(&report.call).await?;
    assert_eq!(decided[0].outcome, Outcome::Granted);
    let hold: money::Hold = serde_json::from_str(decided[0].hold.as_ref().context("a hold")?.get())?;
    assert_eq!((hold.amount.to_string(), hold.granted_secs), ("1.9".to_owned(), 95));
    let cdr = world.cdr(&report.call).await?;
    assert_eq!(cdr.legs[0].cost, cdr.legs[0].held);
    let wallet = world.wallet(WALLET).await?.facts();
    assert_eq!((wallet.posted.get(), wallet.held.get()), (0, 0));

    let broke = platform.call(script(ALLOWED)).await;
    assert_eq!(broke.answers()[0].action, Action::Hangup);
    assert_eq!(world.cdr(&broke.call).await?.refused.as_deref(), Some("NO_CREDIT"));
    Ok(())
}

async fn credit_for_one_of_two_calls(world: World) -> Result<()> {
    world.top_up(WALLET, "12").await?;
    let platform = world.platform(3)?;
    let ices = [platform.facts(&script(ALLOWED)), platform.facts(&script(ALLOWED))];
    let send = |index: usize| platform.send(ices[index].ice(now()), SignWith::default());
    let (first, second) = tokio::join!(send(0), send(1));
    let answers: Vec<proto::Svaml> =
        [first?, second?].iter().map(|reply| serde_json::from_slice(&reply.body)).collect::<Result<_, _>>()?;
    let granted: Vec<_> = answers.iter().filter_map(max_duration).collect();
    assert_eq!(granted, [600], "twelve euros hold one call of ten minutes, and none of another");
    let mut outcomes = Vec::new();
    for ice in &ices {
        outcomes.push(world.decisions(&ice.call).await?[0].reason.clone());
    }
    outcomes.sort();
    assert_eq!(outcomes, [None, Some("NO_CREDIT".to_owned())]);
    Ok(())
}

async fn the_same_ice_twice(mut world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(4)?;
    let facts = platform.facts(&script(ALLOWED));
    let ice = facts.ice(now());
    let first = platform.send(ice.clone(), SignWith::default()).await?;
    let again = platform.send(ice.clone(), SignWith::default()).await?;
    assert_eq!(first, again, "to the byte");

    // At once, and where there are two ingresses, at both.
    let other = if world.servers().is_ok() {
        world.start("ingress-2")?;
        world.platform_at("ingress-2", 4)?
    } else {
        platform.clone()
    };
    let racing = platform.facts(&script(ALLOWED));
    let ice = racing.ice(now());
    let (left, right) =
        tokio::join!(platform.send(ice.clone(), SignWith::default()), other.send(ice.clone(), SignWith::default()));
    assert_eq!(left?, right?, "to the byte");

    for call in [&facts.call, &racing.call] {
        assert_eq!(world.decisions(call).await?.len(), 1);
    }
    tests::eventually("both holds are posted", async || {
        Ok((world.wallet(WALLET).await?.holds().count() == 2).then_some(()))
    })
    .await?;
    let wallet = world.wallet(WALLET).await?;
    assert_eq!(wallet.facts().held.to_string(), "24", "one hold of ten minutes for each call");
    Ok(())
}

async fn copies_of_an_ice_never_spend_each_others_credit(mut world: World) -> Result<()> {
    world.top_up(WALLET, "12").await?;
    let here = world.platform(9)?;
    let there = if world.servers().is_ok() {
        world.start("ingress-2")?;
        world.platform_at("ingress-2", 9)?
    } else {
        here.clone()
    };
    for _ in 0..20 {
        // The credit is for exactly this call: who comes second sees none left, and must give the first one's answer.
        let facts = here.facts(&script(ALLOWED));
        let ice = facts.ice(now());
        let (left, right) =
            tokio::join!(here.send(ice.clone(), SignWith::default()), there.send(ice.clone(), SignWith::default()));
        let (left, right) = (left?, right?);
        assert_eq!(left, right);
        let answer: proto::Svaml = serde_json::from_slice(&left.body)?;
        assert_eq!(max_duration(&answer), Some(600));
        let ending = simulator::Ending { result: simulator::CallResult::NoAnswer, reason: simulator::Reason::Cancel };
        here.send(facts.dice(now(), ending, None), SignWith::default()).await?;
        world.cdr(&facts.call).await?;
    }
    Ok(())
}

async fn three_dices_one_charge(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(5)?;
    let mut thrice = script(ALLOWED);
    thrice.duplicate = 2;
    let report = platform.call(thrice).await;
    assert_eq!(report.callbacks().iter().filter(|kind| **kind == Kind::Dice).count(), 3);
    let cdr = world.cdr(&report.call).await?;
    assert_eq!(cdr.legs[0].cost.to_string(), "0.6");
    world.billing_caught_up().await?;
    assert_eq!(world.wallet(WALLET).await?.facts().posted.to_string(), "99.4");
    Ok(())
}

async fn the_end_before_the_beginning(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(6)?;
    let facts = platform.facts(&script(ALLOWED));
    let ending = simulator::Ending { result: simulator::CallResult::Answered, reason: simulator::Reason::CallerHangup };
    let dice = platform.send(facts.dice(now(), ending, Some(10)), SignWith::default()).await?;
    assert_eq!((dice.status, dice.body.as_ref()), (200, &b"{}"[..]));
    world.billing_caught_up().await?;
    let ice = platform.send(facts.ice(now()), SignWith::default()).await?;
    let answer: proto::Svaml = serde_json::from_slice(&ice.body)?;
    assert_eq!(answer.action, Action::Hangup, "a call that is over gets no credit");
    let cdr = world.cdr(&facts.call).await?;
    assert_eq!((cdr.refused.as_deref(), cdr.legs.len()), (Some("CALL_ENDED"), 0));
    assert_eq!(world.wallet(WALLET).await?.facts().posted.to_string(), "100");
    Ok(())
}

async fn a_call_nobody_answers_costs_nothing(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(7)?;
    let mut unanswered = script(ALLOWED);
    unanswered.callee = simulator::Callee::NoAnswer;
    let report = platform.call(unanswered).await;
    let cdr = world.cdr(&report.call).await?;
    assert!(cdr.legs[0].cost.is_zero());
    let wallet = world.wallet(WALLET).await?.facts();
    assert_eq!((wallet.posted.to_string(), wallet.held.to_string()), ("100".into(), "0".into()));
    Ok(())
}

/// An inbound number with a menu; sales is a call we pay for.
const MENU: &str = r#"
version: 1
menus:
  main: { prompt: "Press 1 for sales.", keys: { "1": sales } }
ice:
  - name: inbound
    when: call.to.type == 'did'
    remember: { caller: "${call.cli}" }
    reply: { say: "Welcome.", menu: main }
  - { name: default, deny: NOT_ALLOWLISTED }
ace:
  - { name: machine, when: has(call.amd) && call.amd.status == 'machine', reply: { hangup: true } }
  - { name: default, reply: { continue: true } }
pie:
  - name: sales
    when: menu.value == 'sales' && call.memory.caller == '+46700000001'
    reserve: true
    reply: { say: "Connecting you.", connect_pstn: "+46701234567", max_duration: 10m, amd: true }
  - { name: default, reply: { hangup: true } }
"#;

async fn a_menu_leads_to_sales(world: World) -> Result<()> {
    world.top_up(WALLET, "100").await?;
    let platform = world.platform(8)?;
    let mut inbound =
        CallScript::new(Caller::Number("+46700000001".to_owned()), Endpoint::Did("+46850001111".to_owned()));
    inbound.inputs = vec![Input::Digits("1".to_owned())];
    let report = platform.call(inbound.clone()).await;
    assert_eq!(report.callbacks(), [Kind::Ice, Kind::Pie, Kind::Ace, Kind::Dice]);
    assert!(report.heard().contains(&"Press 1 for sales."), "{:?}", report.heard());
    let cdr = world.cdr(&report.call).await?;
    assert_eq!(cdr.legs.len(), 1);
    assert_eq!(cdr.legs[0].billed_secs, 26, "from the ACE, four seconds into the thirty of talk, not from the menu");
    assert_eq!(cdr.legs[0].cost.to_string(), "0.52");

    inbound.callee = simulator::Callee::Machine { after_secs: 5 };
    let machine = platform.call(inbound).await;
    let hung_up = machine.answers().into_iter().any(|answer| answer.action == Action::Hangup);
    assert!(hung_up, "an answering machine is hung up on: {:?}", machine.answers());
    let call: &CallId = &machine.call;
    world.cdr(call).await?;
    Ok(())
}
