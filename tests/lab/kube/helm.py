#!/usr/bin/python3
# The subcommands of helm that wiab uses, on the real engine of Helm, which comes as a library without a command line.
import argparse, json, re, signal, sys, threading
import helm_python as engine

VERBS = {"upgrade": "name chart", "rollback": "name revision", "uninstall": "name", "history": "name", "status": "name",
         "get": "what name", "list": ""}


def seconds(text):
    parts = re.findall(r"([\d.]+)([hms])", text)
    return int(sum(float(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts))


def arguments():
    parser = argparse.ArgumentParser(prog="helm")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in VERBS.items():
        one = verbs.add_parser(verb)
        for word in words.split():
            one.add_argument(word)
        one.add_argument("-n", "--namespace", default="default")
        one.add_argument("-o", "--output")
        # As helm 3 of the releases waits: for what runs. The engine's own way also waits for certificates.
        one.add_argument("--wait", action="store_const", const="legacy")
        one.add_argument("--timeout", type=seconds, default=300)
        one.add_argument("--install", action="store_true")
        one.add_argument("-f", "--values", action="append", default=[])
        one.add_argument("-A", "--all-namespaces", action="store_true")
    return parser.parse_args()


def merged(under, over):
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}


def upgrade(helm, args, stop):
    values = {}
    for path in args.values:
        values = merged(values, engine.values_from_yaml(open(path).read()))
    try:
        helm.history(args.name)
        act = helm.upgrade
    except engine.HelmNotFoundError:
        act = helm.install
    act(args.chart, args.name, values, context=stop, timeout=args.timeout, wait=args.wait)


def rows(helm, name):
    for one in helm.history(name):
        info = helm.get_all(name, revision=one["revision"])["info"]
        yield {"revision": one["revision"], "updated": one["deployed_at"], "status": one["status"],
               "chart": one["chart_name"] + "-" + one["chart_version"], "description": info.get("description", "")}


def run(args, stop):
    with engine.Config(namespace=args.namespace) as helm:
        if args.verb == "upgrade":
            return upgrade(helm, args, stop)
        if args.verb == "rollback":
            return helm.rollback(args.name, version=int(args.revision), timeout=args.timeout, wait=args.wait)
        if args.verb == "uninstall":
            return print(helm.uninstall(args.name, timeout=args.timeout, wait=args.wait) and f'release "{args.name}" uninstalled')
        if args.verb == "get" and args.what == "manifest":
            return print(helm.status(args.name)["manifest"])
        answer = {"history": lambda: list(rows(helm, args.name)), "status": lambda: helm.status(args.name),
                  "get": lambda: helm.get_values(args.name) or None,
                  "list": lambda: helm.list(all_namespaces=args.all_namespaces)}[args.verb]()
        print(json.dumps(answer))


def guarded(args, stop, codes):
    try:
        run(args, stop)
        codes.append(0)
    except engine.HelmError as error:
        print(f"Error: {error}", file=sys.stderr)
        codes.append(1)


codes, stop = [], engine.HelmContext()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.cancel())
# The library does not return while it works; a signal is only seen by a thread that waits.
work = threading.Thread(target=guarded, args=(arguments(), stop, codes))
work.start()
while work.is_alive():
    work.join(0.2)
sys.exit(codes[0] if codes else 1)
