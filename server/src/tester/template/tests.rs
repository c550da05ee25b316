//! Templates, and what Go makes of them.

use std::collections::BTreeMap;

use super::*;

fn data() -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    let ports =
        BTreeMap::from([("mqtt".to_owned(), Value::Integer(7)), ("websocket".to_owned(), Value::Integer(8))]);
    Value::Fields(BTreeMap::from([
        ("Name", text("n1")),
        ("Empty", text("")),
        ("Port", Value::Integer(4222)),
        ("JetStream", Value::Bool(true)),
        ("TLS", Value::Nil),
        ("Routes", Value::List(vec![text("a:1"), text("b:2")])),
        ("Ports", Value::Map(ports, Box::new(Value::Integer(0)))),
    ]))
}

fn rendered(text: &str) -> String {
    render("t", text, &data()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// The right column is what Go 1.26 prints.
#[test]
fn templates_give_what_go_gives() {
    for (template, text) in [
        ("", ""),
        ("a } b", "a } b"),
        ("port: {{ .Port }}", "port: 4222"),
        ("{{.Ports.websocket}} {{ .Ports.none }}", "8 <no value>"),
        (
            "{{ .Ports.none.more }} {{ index .Ports \"none\" }} {{ if .Ports.none }}a{{ end }}",
            "<no value> 0 ",
        ),
        ("{{ .TLS }}", "<nil>"),
        ("a  {{- .Name -}}  b", "an1b"),
        ("a {{/* no */}} b {{- /* no */ -}} c", "a  bc"),
        ("{{if .JetStream}}on{{else}}off{{end}}", "on"),
        ("{{if .Empty}}a{{else if .TLS}}b{{else if .Name}}c{{end}}", "c"),
        ("{{ if and .JetStream .Empty }}a{{ else }}b{{ end }}", "b"),
        ("{{ if not (or .Empty .TLS) }}a{{ end }}", "a"),
        ("{{range .Routes}}<{{.}}>{{end}}", "<a:1><b:2>"),
        ("{{range $i, $r := .Routes}}{{$i}}={{$r}},{{end}}", "0=a:1,1=b:2,"),
        ("{{range $k, $v := .Ports}}{{$k}}:{{$v}} {{$.Name}} {{end}}", "mqtt:7 n1 websocket:8 n1 "),
        ("{{range .Routes}}{{if eq . \"a:1\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "b:2"),
        ("{{range .Ports.none}}{{else}}none{{end}}", "none"),
        ("{{with .Name}}{{.}}{{$.Port}}{{end}}{{with .TLS}}x{{else}}y{{end}}", "n14222y"),
        ("{{$p := .Port}}{{if .JetStream}}{{$p = 5}}{{end}}{{$p}}", "5"),
        ("{{ .Name | printf \"%s-%d %q\" \"x\" 5 }}", "x-5 \"n1\""),
        ("{{ print 1 2 \"a\" 3 }}|{{ println \"a\" 1 }}", "1 2a3|a 1\n"),
        ("{{ len .Routes }} {{ index .Routes 1 }} {{ index .Ports \"mqtt\" }}", "2 b:2 7"),
        ("{{ eq .Name \"a\" \"n1\" }} {{ ne 1 2 }} {{ lt 1 2 }} {{ ge 1 2 }}", "true true true false"),
        (
            "{{ .Routes }} {{ .Ports }} {{ `}}` }} {{ \"a\\\"}}\" }}",
            "[a:1 b:2] map[mqtt:7 websocket:8] }} a\"}}",
        ),
        ("{{ hostport \"::1\" 5 }} {{ hostport .Name .Port }}", "[::1]:5 n1:4222"),
        ("{{ (index .Routes 0) }}", "a:1"),
    ] {
        assert_eq!(rendered(template), text, "{template}");
    }
}

#[test]
fn what_cannot_be_read_or_done_is_told_with_its_line() {
    for (template, text) in [
        ("a\n{{ .Foo", "template: t:2: unclosed action"),
        ("{{ if }}", "template: t:1: missing value for if"),
        ("{{ if .Name }}", "template: t:1: unexpected EOF"),
        ("{{ nofunc 1 }}", "template: t:1: function \"nofunc\" not defined"),
        ("{{ html 1 }}", "template: t:1: function \"html\" is not served here"),
        ("{{ define \"x\" }}{{ end }}", "template: t:1: {{define}} is not served here"),
        ("{{ end }}", "template: t:1: unexpected {{end}}"),
        ("{{ break }}", "template: t:1: {{break}} outside {{range}}"),
        ("{{ \"a }}", "template: t:1: unterminated quoted string"),
        ("{{ /* }}", "template: t:1: unclosed comment"),
        ("{{ 1.5 }}", "template: t:1: bad number syntax: \"1\""),
    ] {
        assert_eq!(render("t", template, &data()), Err(TemplateError::Parse(text.to_owned())), "{template}");
    }
    for (template, text) in [
        ("\n{{ .Nope }}", "template: t:2: can't evaluate field Nope: there is none"),
        ("{{ .TLS.CAFile }}", "template: t:1: nil pointer evaluating field CAFile"),
        ("{{ .Name.x }}", "template: t:1: can't evaluate field x in a string"),
        ("{{ $x }}", "template: t:1: undefined variable \"$x\""),
        ("{{ .Name 1 }}", "template: t:1: can't give argument to non-function"),
        ("{{ index .Routes 9 }}", "template: t:1: index out of range: 9"),
        ("{{ printf \"%05d\" 1 }}", "template: t:1: %0 of a int is not served here"),
        ("{{ lt 1 \"a\" }}", "template: t:1: incompatible types for comparison"),
        ("{{ range .Port }}{{ end }}", "template: t:1: range can't iterate over a int"),
    ] {
        assert_eq!(render("t", template, &data()), Err(TemplateError::Render(text.to_owned())), "{template}");
    }
}

#[test]
fn what_would_take_for_ever_ends() {
    let loops = 40;
    let endless = "{{range .Routes}}".repeat(loops) + "x" + &"{{end}}".repeat(loops);
    let endless = endless.replace(".Routes", "$.Routes");
    assert!(matches!(render("t", &endless, &data()), Err(TemplateError::Render(_))));
    let deep = "{{if .Name}}".repeat(100_000);
    assert!(matches!(render("t", &deep, &data()), Err(TemplateError::Parse(_))));
    let deep = format!("{{{{ {} }}}}", "(".repeat(100_000));
    assert!(matches!(render("t", &deep, &data()), Err(TemplateError::Parse(_))));
    let long = "{{if .Empty}}a".to_owned() + &"{{else if .Empty}}b".repeat(100_000) + "{{end}}";
    assert!(matches!(render("t", &long, &data()), Err(TemplateError::Parse(_))));
    let nested = "{{range $.Routes}}".repeat(18) + "{{ printf \"%s\" $.Name }}" + &"{{end}}".repeat(18);
    assert!(matches!(render("t", &nested, &data()), Err(TemplateError::Render(_))));
}
