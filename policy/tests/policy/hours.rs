//! Opening hours go by the wall clock of their zone, over midnight, through holidays and through changes of the clock.

use expect_test::expect;

use crate::{World, load};

const ICE: &str = r#"{"event":"ice","callid":"c"}"#;

/// Whether hours are open at each of these instants.
fn open(hours: &str, instants: &[&str]) -> Vec<bool> {
    let rules = "ice:\n  - { name: a, when: hours.open, reply: { hangup: true } }\n  - { name: b, deny: CLOSED }\n";
    let policy = load(&format!("version: 1\nhours: {{ open: {hours} }}\n{rules}")).expect("policy");
    let mut world = World::new();
    let at = |instant: &&str| {
        world.now = instant.parse().expect("an instant");
        let decision = world.decide(&policy, ICE);
        let open = decision.rule == "a";
        assert_eq!(decision.explanation.value("hours.open"), Some(&serde_json::Value::Bool(open)));
        open
    };
    instants.iter().map(at).collect()
}

#[test]
fn days_and_times_of_a_zone() {
    let office =
        r#"{ days: mon-fri, from: "08:00", to: "18:00", tz: Europe/Stockholm, except: ["2026-12-24", "12-25"] }"#;
    // A Friday in winter, when Stockholm is an hour ahead of UTC.
    let friday = ["2026-11-20T06:59:59Z", "2026-11-20T07:00:00Z", "2026-11-20T16:59:59Z", "2026-11-20T17:00:00Z"];
    assert_eq!(open(office, &friday), [false, true, true, false]);
    assert_eq!(open(office, &["2026-11-21T10:00:00Z", "2026-07-01T06:00:00Z"]), [false, true], "Saturday, summer");
    let holidays = ["2026-12-24T10:00:00Z", "2026-12-25T10:00:00Z", "2025-12-24T10:00:00Z", "2025-12-25T10:00:00Z"];
    assert_eq!(open(office, &holidays), [false, false, true, false]);
    assert_eq!(open("{ days: [mon, sat-sun], tz: UTC }", &["2026-11-23T00:00:00Z", "2026-11-22T23:59:59Z"]), [true; 2]);
    assert_eq!(open("{ days: sun-mon, tz: UTC }", &["2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z"]), [true, false]);
    let two =
        r#"[{ days: mon, from: "8:00", to: "24:00", tz: UTC }, { days: tue, from: "00:00", to: "09:00", tz: UTC }]"#;
    assert_eq!(
        open(two, &["2026-11-23T23:59:59Z", "2026-11-24T08:59:59Z", "2026-11-24T09:00:00Z"]),
        [true, true, false]
    );
}

#[test]
fn over_midnight_belongs_to_the_day_it_began() {
    let bar = r#"{ days: fri, from: "22:00", to: "04:00", tz: America/New_York, except: ["2026-11-27"] }"#;
    let night = ["2026-11-21T02:59:59Z", "2026-11-21T03:00:00Z", "2026-11-21T08:59:59Z", "2026-11-21T09:00:00Z"];
    assert_eq!(open(bar, &night), [false, true, true, false]);
    assert_eq!(
        open(bar, &["2026-11-28T05:00:00Z", "2026-11-20T08:00:00Z"]),
        [false, false],
        "holiday, Friday's morning"
    );
}

#[test]
fn clocks_that_change_open_and_close_once() {
    // Stockholm, 2026-03-29: 02:00 becomes 03:00; 2026-10-25: 03:00 becomes 02:00.
    let night = r#"{ from: "02:30", to: "05:00", tz: Europe/Stockholm }"#;
    let spring = ["2026-03-29T01:29:59Z", "2026-03-29T01:30:00Z", "2026-03-29T02:59:59Z", "2026-03-29T03:00:00Z"];
    assert_eq!(open(night, &spring), [false, true, true, false], "02:30 does not exist and means 03:30");
    let autumn = ["2026-10-25T00:29:59Z", "2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T04:00:00Z"];
    assert_eq!(
        open(night, &autumn),
        [false, true, true, false],
        "open from the first 02:30 on, through the second 02:10"
    );
}

#[test]
fn what_is_wrong_with_hours_is_said() {
    let errors = load(
        r#"version: 1
hours:
  open: { days: mon-fry, from: "8", to: "18:00", tz: Europe/Stokholm }
  late: { tz: stockholm, except: ["2026-02-30", 1224] }
  never: { from: "08:00", to: "08:00", tzz: UTC }
  9to5: { tz: Nowhere/Atall }
ice:
  - { name: a, when: hours.opn && hours.late.x, deny: A }
  - { name: b, when: hours, deny: B }
  - { name: default, deny: C }
"#,
    )
    .expect_err("a bad file");
    expect![[r#"
        test.yaml:3:17: not days of the week: 'mon-fry'
         3 |   open: { days: mon-fry, from: "8", to: "18:00", tz: Europe/Stokholm }
           |                 ^ write mon, mon-fri or [mon, wed-fri]; days are mon tue wed thu fri sat sun

        test.yaml:3:32: from wants a time of day
         3 |   open: { days: mon-fry, from: "8", to: "18:00", tz: Europe/Stokholm }
           |                                ^ write "08:00", up to "24:00"

        test.yaml:3:54: unknown time zone 'Europe/Stokholm'
         3 |   open: { days: mon-fry, from: "8", to: "18:00", tz: Europe/Stokholm }
           |                                                      ^ did you mean Europe/Stockholm?

        test.yaml:4:15: unknown time zone 'stockholm'
         4 |   late: { tz: stockholm, except: ["2026-02-30", 1224] }
           |               ^ did you mean Europe/Stockholm?

        test.yaml:4:35: not a day: '2026-02-30'
         4 |   late: { tz: stockholm, except: ["2026-02-30", 1224] }
           |                                   ^ write "2026-12-24", or "12-24" for every year

        test.yaml:4:49: not a day: '1224'
         4 |   late: { tz: stockholm, except: ["2026-02-30", 1224] }
           |                                                 ^ write "2026-12-24", or "12-24" for every year

        test.yaml:5:10: opens and closes at once
         5 |   never: { from: "08:00", to: "08:00", tzz: UTC }
           |          ^ leave out from and to for whole days

        test.yaml:5:10: hours want a time zone
         5 |   never: { from: "08:00", to: "08:00", tzz: UTC }
           |          ^ add tz: such as Europe/Stockholm

        test.yaml:5:40: unknown key in hours: 'tzz'
         5 |   never: { from: "08:00", to: "08:00", tzz: UTC }
           |                                        ^ did you mean tz?

        test.yaml:6:3: not a name for hours
         6 |   9to5: { tz: Nowhere/Atall }
           |   ^ use at most 64 letters, digits and '_', beginning with a letter

        test.yaml:6:15: unknown time zone 'Nowhere/Atall'
         6 |   9to5: { tz: Nowhere/Atall }
           |               ^ write a name of the IANA table, such as Europe/Stockholm or UTC

        test.yaml:8:22: there are no hours 'opn'
         8 |   - { name: a, when: hours.opn && hours.late.x, deny: A }
           |                      ^ did you mean open?

        test.yaml:8:35: name one of the hours
         8 |   - { name: a, when: hours.opn && hours.late.x, deny: A }
           |                                   ^ write hours.name

        test.yaml:9:22: name one of the hours
         9 |   - { name: b, when: hours, deny: B }
           |                      ^ write hours.name
    "#]]
    .assert_eq(&errors.to_string());
}
