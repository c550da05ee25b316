//! The page that leads to the others.

use crate::views::Page;

const TEXT: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<title>JetKV</title>
<style>
body { font: 16px/1.6 system-ui, sans-serif; margin: 2rem; color: #222; }
a { color: #1b5fad; }
</style>
</head>
<body>
<h1>JetKV</h1>
<ul>
<li><a href=\"./varz\">General</a></li>
<li><a href=\"./jsz\">JetStream</a></li>
<li><a href=\"./connz\">Connections</a></li>
<li><a href=\"./accountz\">Accounts</a></li>
<li><a href=\"./accstatz\">Account statistics</a></li>
<li><a href=\"./subsz\">Subscriptions</a></li>
<li><a href=\"./healthz\">Health</a></li>
<li><a href=\"./metrics\">Metrics, for Prometheus</a></li>
</ul>
</body>
</html>
";

pub(super) fn page() -> Page {
    Page::html(TEXT)
}
