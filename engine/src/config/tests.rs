//! CONFIG GET, SET and REWRITE and files, as text in, text out.

use super::*;
use proptest::prelude::*;

fn matches_all(_: &[u8], _: &[u8]) -> bool {
    true
}

fn text(config: &Config, name: &str) -> String {
    String::from_utf8(config.value_text(name).expect(name)).expect("text")
}

/// CONFIG SET of one pair by a client elsewhere: "OK" or the error.
fn set(config: &mut Config, name: &str, value: &str) -> String {
    match config.set(&[(name.as_bytes(), value.as_bytes())], false) {
        Ok(_) => "OK".into(),
        Err(error) => error.to_string(),
    }
}

fn load(file: &str) -> Result<(Config, Vec<Line>), LoadError> {
    let mut config = Config::new();
    let lines = config.load("redis.conf", file.as_bytes(), &mut |name| Err(format!("no file '{name}'")))?;
    Ok((config, lines))
}

#[test]
fn every_name_that_config_get_lists_can_be_set_to_what_it_reads() {
    let mut config = Config::new();
    let listed = config.get(b"*", matches_all);
    assert!(listed.len() >= 220, "{}", listed.len());
    for (name, value) in listed {
        let before = config.clone();
        match config.set(&[(name.as_bytes(), &value)], false) {
            Ok(changed) => assert!(changed.is_empty(), "{name} reads back as another value"),
            Err(error) => {
                let (_, directive) = find(name.as_bytes()).expect("listed");
                assert!(matches!(directive.change, Change::Never | Change::Protected), "{name}: {error}");
            }
        }
        assert!(config.values == before.values, "{name}");
        config.set_at_start(name, &[&value]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(config.values == before.values, "{name} reads back as another value");
    }
}

/// name, value, the answer or `=` and what is read back.
const SETS: &[(&str, &str, &str)] = &[
    ("maxmemory", "100mb", "=104857600"),
    ("MaxMemory", "", "=0"),
    ("maxmemory", "18446744073709551615", "=18446744073709551615"),
    ("maxmemory", "abc", "argument must be a memory value"),
    ("maxmemory", "100%", "argument must be a memory value"),
    ("maxmemory-clients", "5%", "=5%"),
    ("maxmemory-clients", "0%", "=0"),
    ("maxmemory-clients", "1mb", "=1048576"),
    ("maxmemory-clients", "101%", "percentage argument must be less or equal to 100"),
    ("maxmemory-clients", "-5%", "argument must be a memory or percent value"),
    ("port", "abc", "argument couldn't be parsed into an integer"),
    ("port", "", "argument couldn't be parsed into an integer"),
    ("port", "+5", "argument couldn't be parsed into an integer"),
    ("port", "70000", "argument must be between 0 and 65535 inclusive"),
    ("timeout", "-1", "argument must be between 0 and 2147483647 inclusive"),
    ("maxclients", "0", "argument must be between 1 and 4294967295 inclusive"),
    ("proto-max-bulk-len", "1", "argument must be between 1048576 and 9223372036854775807 inclusive"),
    ("proto-max-bulk-len", "1mb", "=1048576"),
    ("slowlog-log-slower-than", "-1", "=-1"),
    ("list-max-listpack-size", "-5", "=-5"),
    ("hz", "0", "=1"),
    ("hz", "501", "=500"),
    ("hz", "-1", "argument must be between 0 and 2147483647 inclusive"),
    ("appendonly", "NO", "=no"),
    ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
    (
        "maxmemory-policy",
        "foo",
        "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, \
         allkeys-lru, allkeys-lfu, allkeys-random, noeviction",
    ),
    ("maxmemory-policy", "AllKeys-LFU", "=allkeys-lfu"),
    ("notify-keyspace-events", "KEA", "=AKE"),
    ("notify-keyspace-events", "Kq", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
    (
        "client-output-buffer-limit",
        "replica 1mb 2k 3",
        "=normal 0 0 0 slave 1048576 2000 3 pubsub 33554432 8388608 60",
    ),
    ("client-output-buffer-limit", "normal 0 0", "Wrong number of arguments in buffer limit configuration."),
    (
        "client-output-buffer-limit",
        "master 0 0 0",
        "Invalid client class specified in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit",
        "normal 1 2 -3",
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
    ),
    ("save", "900 1 300 10", "=900 1 300 10"),
    ("save", "", "="),
    ("save", "900", "Invalid save parameters"),
    ("save", "0 1", "Invalid save parameters"),
    ("latency-tracking-info-percentiles", "99.99 12.1234567", "=99.99 12.123457"),
    ("latency-tracking-info-percentiles", "", "="),
    (
        "latency-tracking-info-percentiles",
        "101",
        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
    ),
    ("latency-tracking-info-percentiles", "a b", "Invalid latency-tracking-info-percentiles parameters"),
    ("oom-score-adj-values", "3 2 1", "=3 2 1"),
    ("oom-score-adj-values", "1 2", "wrong number of arguments"),
    (
        "oom-score-adj-values",
        "1 2 9000",
        "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
    ),
    ("shutdown-on-sigterm", "now save", "=save now"),
    ("shutdown-on-sigterm", "save nosave", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
    (
        "shutdown-on-sigterm",
        "bogus",
        "argument(s) must be one of the following: default, save, nosave, now, force",
    ),
    ("proc-title-template", "{x}", "template format is invalid or contains unknown variables"),
    (
        "cluster-announce-hostname",
        "a b",
        "Hostnames may only contain alphanumeric characters, hyphens or dots",
    ),
    ("slave-read-only", "no", "=no"),
    ("hash-max-ziplist-entries", "7", "=7"),
    ("lua-time-limit", "7", "=7"),
    ("daemonize", "no", "can't set immutable config"),
    ("databases", "16", "can't set immutable config"),
    ("enable-debug-command", "yes", "can't set immutable config"),
    ("dbfilename", "other.rdb", "can't set protected config"),
    ("dir", "./ramkeep-data", "=./ramkeep-data"),
    ("dir", "/elsewhere", "can't set immutable config"),
    ("tls-port", "0", "=0"),
    ("tls-port", "6380", "there is no TLS: connections would not be encrypted"),
    ("min-replicas-to-write", "1", "there are no Redis replicas to wait for: every write would be refused"),
];

#[test]
fn config_set_answers_as_redis_does() {
    for (name, value, expected) in SETS {
        let mut config = Config::new();
        let answer = set(&mut config, name, value);
        match expected.strip_prefix('=') {
            Some(read_back) => {
                assert_eq!(answer, "OK", "{name} {value}");
                assert_eq!(text(&config, name), read_back, "{name} {value}");
            }
            None => assert_eq!(
                answer,
                format!("CONFIG SET failed (possibly related to argument '{name}') - {expected}"),
                "{name} {value}"
            ),
        }
    }
    assert_eq!(
        set(&mut Config::new(), "nosuch", "1"),
        "Unknown option or number of arguments for CONFIG SET - 'nosuch'"
    );
}

#[test]
fn a_failing_pair_leaves_all_as_it_was() {
    let mut config = Config::new();
    let pairs: &[(&[u8], &[u8])] = &[(b"maxmemory", b"1gb"), (b"save", b"60 1"), (b"timeout", b"soon")];
    let error = config.set(pairs, false).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer"
    );
    assert!(config.values == Config::new().values);
    assert_eq!(config.settings().maxmemory_bytes, 0);

    let twice: &[(&[u8], &[u8])] = &[(b"lua-time-limit", b"1"), (b"busy-reply-threshold", b"2")];
    let error = config.set(twice, false).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "CONFIG SET failed (possibly related to argument 'busy-reply-threshold') - duplicate parameter"
    );
}

#[test]
fn a_change_comes_back_and_can_be_taken_back() {
    let mut config = Config::new();
    let pairs: &[(&[u8], &[u8])] = &[(b"port", b"7000"), (b"slave-priority", b"3"), (b"timeout", b"0")];
    let changed = config.set(pairs, false).expect("valid");
    assert_eq!(changed.iter().map(|change| change.name).collect::<Vec<_>>(), ["port", "replica-priority"]);
    assert_eq!(config.settings().port, 7000);
    config.restore(changed);
    assert_eq!(config.settings().port, 6379);
    assert!(config.values == Config::new().values);
}

#[test]
fn protected_directives_follow_enable_protected_configs() {
    for (allowed, client_is_local, is_changed) in
        [("no", true, false), ("local", true, true), ("local", false, false), ("yes", false, true)]
    {
        let mut config = Config::new();
        config.set_at_start("enable-protected-configs", &[allowed.as_bytes()]).expect("valid");
        let answer = config.set(&[(b"dbfilename", b"other.rdb")], client_is_local);
        assert_eq!(answer.is_ok(), is_changed, "{allowed}, local {client_is_local}");
    }
}

#[test]
fn a_password_cannot_be_taken_away_while_others_can_reach_the_node() {
    let mut config = Config::new();
    assert!(set(&mut config, "bind", "0.0.0.0").contains("without a password"));
    assert_eq!(text(&config, "bind"), "127.0.0.1 -::1");
    assert_eq!(set(&mut config, "requirepass", "secret"), "OK");
    assert_eq!(set(&mut config, "bind", "0.0.0.0"), "OK");
    assert!(set(&mut config, "requirepass", "").contains("without a password"));
    assert_eq!(config.settings().requirepass.as_deref(), Some(&b"secret"[..]));
}

#[test]
fn hidden_directives_answer_to_their_exact_names_only() {
    let config = Config::new();
    let starts_with =
        |pattern: &[u8], name: &[u8]| name.starts_with(pattern.strip_suffix(b"*").unwrap_or(pattern));
    assert_eq!(config.get(b"watchdog*", starts_with), []);
    assert_eq!(config.get(b"Watchdog-Period", starts_with), [("watchdog-period", b"0".to_vec())]);
    assert_eq!(config.get(b"maxmemory-p*", starts_with), [("maxmemory-policy", b"noeviction".to_vec())]);
}

#[test]
fn a_file_is_read_line_by_line() {
    let (config, lines) = load(
        "# a comment\r\n\n  port 7000\r\nBIND 127.0.0.1\nrequirepass \"a b\\x41\"\nsave 900 1\nsave 300 10\n\
         slave-read-only no\nclient-output-buffer-limit pubsub 1mb 1mb 1\nmaxmemory 2gb\nappendonly no\n\
         cluster-enabled no\nreplicaof \"\"",
    )
    .expect("valid");
    assert_eq!(text(&config, "save"), "900 1 300 10");
    assert_eq!(text(&config, "bind"), "127.0.0.1");
    assert_eq!(
        text(&config, "client-output-buffer-limit"),
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 1048576 1"
    );
    let settings = config.settings();
    assert_eq!((settings.port, settings.maxmemory_bytes), (7000, 2 << 30));
    assert_eq!(settings.requirepass.as_deref(), Some(&b"a bA"[..]));
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[2].value, "(not shown)");
    let harmless: Vec<&str> = lines
        .iter()
        .filter(|line| line.treatment == LineTreatment::Harmless)
        .map(|line| line.directive.as_str())
        .collect();
    assert_eq!(harmless, ["save", "save", "slave-read-only", "appendonly"]);
}

#[test]
fn a_bad_line_is_told_with_its_number_and_a_hint() {
    for (file, message) in [
        (
            "port 1\n\nprot 6379\n",
            "redis.conf, line 3: there is no directive 'prot'; did you mean 'port'?\n>>> prot (not shown)",
        ),
        ("colour red", "redis.conf, line 1: there is no directive 'colour'\n>>> colour (not shown)"),
        ("port abc", "redis.conf, line 1: argument couldn't be parsed into an integer\n>>> port abc"),
        ("port", "redis.conf, line 1: wrong number of arguments\n>>> port "),
        ("port 1 2", "redis.conf, line 1: wrong number of arguments\n>>> port 1 2"),
        ("port \"1", "redis.conf, line 1: the quotes are not balanced\n>>> port "),
        ("requirepass \"secret", "redis.conf, line 1: the quotes are not balanced\n>>> requirepass "),
        (
            "cluster-enabled yes",
            "redis.conf, line 1: cluster mode does not exist yet\n>>> cluster-enabled yes",
        ),
        ("loadmodule /a.so", "redis.conf, line 1: modules cannot be loaded\n>>> loadmodule /a.so"),
        (
            "slaveof host 6379",
            "redis.conf, line 1: copying from a Redis server is not supported; this node would not follow it\n\
             >>> slaveof host 6379",
        ),
        (
            "rename-command FLUSHALL \"\"",
            "redis.conf, line 1: commands keep their names; a renamed one would be open under its old name\n\
             >>> rename-command FLUSHALL ",
        ),
        ("include other.conf", "redis.conf, line 1: no file 'other.conf'\n>>> include other.conf"),
    ] {
        assert_eq!(load(file).map(|_| ()).expect_err(file).to_string(), message, "{file}");
    }
}

#[test]
fn an_included_file_takes_its_place_in_the_order() {
    let mut config = Config::new();
    let mut include = |name: &str| match name {
        "a.conf" => Ok(vec![Included { name: name.into(), text: b"port 2\ntimeout 5\n".to_vec() }]),
        _ => Err(format!("no file '{name}'")),
    };
    let lines =
        config.load("main.conf", b"port 1\ninclude a.conf\ntimeout 6\n", &mut include).expect("valid");
    assert_eq!((config.settings().port, config.settings().timeout_s), (2, 6));
    let places: Vec<String> = lines.iter().map(|line| format!("{}:{}", line.source, line.number)).collect();
    assert_eq!(places, ["main.conf:1", "a.conf:1", "a.conf:2", "main.conf:2", "main.conf:3"]);
}

#[test]
fn files_that_include_each_other_end_in_an_error() {
    let mut config = Config::new();
    let mut include =
        |name: &str| Ok(vec![Included { name: name.into(), text: b"include me.conf".to_vec() }]);
    let error = config.load("me.conf", b"include me.conf", &mut include).expect_err("endless");
    assert_eq!(error.reason, "files include each other more than 16 deep");
}

#[test]
fn check_tells_of_every_line() {
    let file = "port 7000\nport seven\nappendonly yes\ntls-port 6380\nrequirepass secret\nuser alice on\nfoo\nuser default on nopass ~* &* +@all\n";
    let told: Vec<String> = check("f", file.as_bytes(), &mut |_| Ok(Vec::new()))
        .into_iter()
        .map(|line| format!("{} {} {} | {}", line.number, line.treatment.name(), line.value, line.reason))
        .collect();
    assert_eq!(
        told,
        [
            "1 honoured 7000 | ",
            "2 invalid seven | argument couldn't be parsed into an integer",
            "3 harmless yes | every OK is on disk through the transaction log, whatever this says",
            "4 refused 6380 | there is no TLS: connections would not be encrypted",
            "5 honoured (not shown) | ",
            "6 refused alice on | there is one user, 'default', with the password of 'requirepass'",
            "7 invalid (not shown) | there is no directive 'foo'",
            "8 honoured default on nopass ~* &* +@all | ",
        ]
    );
}

#[test]
fn check_looks_into_included_files() {
    let mut include = |name: &str| match name {
        "a.conf" => Ok(vec![Included { name: name.into(), text: b"port 2\nprot 3\n".to_vec() }]),
        "twice.conf" => Ok(vec![Included { name: name.into(), text: b"include twice.conf\n".repeat(9) }]),
        _ => Err(format!("no file '{name}'")),
    };
    let told: Vec<String> = check("f", b"include a.conf\ninclude b.conf\nport x\n", &mut include)
        .into_iter()
        .map(|line| format!("{}:{} {} {}", line.source, line.number, line.treatment.name(), line.reason))
        .collect();
    assert_eq!(
        told,
        [
            "f:1 honoured ",
            "a.conf:1 honoured ",
            "a.conf:2 invalid there is no directive 'prot'; did you mean 'port'?",
            "f:2 invalid no file 'b.conf'",
            "f:3 invalid argument couldn't be parsed into an integer",
        ]
    );
    let endless = check("twice.conf", b"include twice.conf\n", &mut include);
    let invalid: Vec<_> = endless.iter().filter(|line| !line.treatment.is_accepted()).collect();
    assert_eq!(invalid.len(), 1);
    assert_eq!(invalid[0].reason, "files include each other more than 16 deep");
}

#[test]
fn rewrite_keeps_what_still_holds_and_writes_what_has_changed() {
    let old = "# my comment\nport 7000\n\nbind 127.0.0.1\nsave 900 1\n# between\nsave 300 10\n\
               slave-read-only yes\nmaxmemory 104857600\ntimeout 5   \ninclude other.conf\n";
    let mut config = Config::new();
    config.load("redis.conf", old.as_bytes(), &mut |_| Ok(Vec::new())).expect("valid");
    assert_eq!(String::from_utf8_lossy(&config.rewrite(old.as_bytes())), old, "nothing has changed");

    for (name, value) in [
        ("port", "7001"),
        ("save", "60 5 120 4 240 1"),
        ("replica-read-only", "no"),
        ("maxclients", "77"),
        ("masterauth", "a b"),
        ("client-output-buffer-limit", "pubsub 1mb 2 3"),
        ("latency-tracking-info-percentiles", ""),
        ("notify-keyspace-events", "KEA"),
    ] {
        assert_eq!(set(&mut config, name, value), "OK", "{name}");
    }
    let new = config.rewrite(old.as_bytes());
    assert_eq!(
        String::from_utf8_lossy(&new),
        "# my comment\nport 7001\n\nbind 127.0.0.1\nsave 60 5\nsave 120 4\nsave 240 1\n# between\n\
         slave-read-only no\nmaxmemory 104857600\ntimeout 5   \ninclude other.conf\n\n\
         # Generated by CONFIG REWRITE\nmaxclients 77\nclient-output-buffer-limit normal 0 0 0\n\
         client-output-buffer-limit slave 256mb 64mb 60\nclient-output-buffer-limit pubsub 1mb 2 3\n\
         notify-keyspace-events AKE\nlatency-tracking-info-percentiles \"\"\nprimaryauth \"a b\"\n"
            .replace("256mb 64mb", "268435456 67108864")
            .replace("pubsub 1mb", "pubsub 1048576"),
    );
    let mut again = Config::new();
    again.load("redis.conf", &new, &mut |_| Ok(Vec::new())).expect("valid");
    assert!(again.values == config.values);
    assert_eq!(again.rewrite(&new), new, "a second rewrite changes nothing");
}

#[test]
fn rewrite_of_nothing_writes_what_is_not_the_default() {
    let mut config = Config::new();
    assert_eq!(config.rewrite(b""), b"\n");
    assert_eq!(set(&mut config, "maxmemory", "100mb"), "OK");
    assert_eq!(
        String::from_utf8_lossy(&config.rewrite(b"")),
        "\n# Generated by CONFIG REWRITE\nmaxmemory 100mb\n"
    );
}

/// A value of any directive that may change while running, near to what is valid.
fn change() -> impl Strategy<Value = (&'static str, String)> {
    let number = prop_oneof![0_i64..20, Just(i64::MAX), -3_i64..0, 1_000_000_i64..3_000_000]
        .prop_map(|n| n.to_string());
    let text = prop_oneof![
        number,
        Just("yes".to_owned()),
        Just("no".to_owned()),
        Just(String::new()),
        Just("60 1 120 5".to_owned()),
        Just("7 8 9".to_owned()),
        Just("normal 1mb 2 3".to_owned()),
        Just("a \"quoted\" # text\n".to_owned()),
        Just("now force".to_owned()),
        Just("KEg$".to_owned()),
        Just("12%".to_owned()),
        "[ -~]{0,12}",
    ];
    (0..DIRECTIVES.len(), text).prop_map(|(index, text)| (DIRECTIVES[index].name, text))
}

proptest! {
    #[test]
    fn what_is_set_reads_back_and_survives_a_rewrite(changes in proptest::collection::vec(change(), 0..60)) {
        let mut config = Config::new();
        for (name, value) in &changes {
            let before = config.clone();
            match config.set(&[(name.as_bytes(), value.as_bytes())], true) {
                Err(_) => prop_assert!(config.values == before.values),
                Ok(_) => {
                    let printed = config.value_text(name).expect("known");
                    prop_assert!(config.set(&[(name.as_bytes(), &printed)], true).expect("printed").is_empty(), "{}", name);
                }
            }
        }
        let mut again = Config::new();
        let file = config.rewrite(b"# head\nsave 1 1\nsave 2 2\nport 1\n");
        again.load("f", &file, &mut |_| Err("none".into())).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for ((now, then), directive) in config.values.iter().zip(&again.values).zip(DIRECTIVES) {
            prop_assert_eq!(now, then, "{}", directive.name);
        }
    }

    #[test]
    fn no_file_panics(file in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = check("f", &file, &mut |_| Err("none".into()));
        let _ = Config::new().rewrite(&file);
    }
}

#[test]
fn the_secret_between_nodes_is_never_shown_and_survives_a_rewrite() {
    let mut config = Config::new();
    assert!(config.set(&[(b"peer-secret", b"")], true).is_ok(), "as it was read");
    config.set_at_start("peer-secret", &[b"hush"]).expect("a text");
    let shown = config.get(b"peer-secret", |pattern, name| pattern == name);
    assert_eq!(shown, [("peer-secret", Vec::new())]);
    for guess in ["", "hush", "rush"] {
        assert!(config.set(&[(b"peer-secret", guess.as_bytes())], true).is_err(), "{guess}");
    }
    assert_eq!(config.settings().peer_secret, b"hush");
    assert!(String::from_utf8_lossy(&config.rewrite(b"")).contains("peer-secret hush"));
}
