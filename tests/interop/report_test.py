#!/usr/bin/python3
"""The report: everything that is in it, from a hostile process and from a recording, and nothing that runs or is
loaded.

usage: report_test.py BIN SUBJECT GOLDEN
"""

import html.parser
import json
import os
import re
import shutil
import sys

from interop_support import Folder, Subject, check, main, run

BIN, SUBJECT, GOLDEN = sys.argv[1:4]
PCP = lambda name: os.path.join(BIN, name)
HOSTILE = "<script>alert('\"x\"')</script>&amp;<img src=x onerror=y>"


class Page(html.parser.HTMLParser):
    """Tags and text; fails for tags that are not closed in order."""

    ALLOWED = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "dl", "dt", "dd",
               "div", "span", "table", "tr", "th", "td", "a", "b", "i", "details", "summary", "pre", "section",
               "svg", "rect", "line", "title"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack = []
        self.text = ""
        self.values = []
        self.feed(text)
        check(not self.stack, "not closed: %s" % self.stack)

    def handle_starttag(self, tag, attributes):
        check(tag in self.ALLOWED, "a tag that no report has: %s" % tag)
        for name, value in attributes:
            check(not name.startswith("on") and name not in ("src", "srcset", "action", "data"), "%s=%s" % (name, value))
            check(name != "href" or value.startswith("#"), "a link that leads out: %s" % value)
            self.values.append(value or "")
        if tag not in ("meta",):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        check(tag in self.ALLOWED, tag)

    def handle_endtag(self, tag):
        check(self.stack and self.stack.pop() == tag, "closed in another order: %s" % tag)

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.text += data


def report(paths, *options):
    folder = os.path.dirname(paths[0])
    output = os.path.join(folder, "report.html")
    run([PCP("pcp-inspect"), "report", *options, *paths, "-o", output])
    with open(output, encoding="utf-8") as file:
        text = file.read()
    check("default-src 'none'" in text and "url(" not in text and "@import" not in text and "http" not in
          text.replace("http-equiv", ""), "the page may load something")
    return Page(text)


def live():
    with Folder() as folder:
        # A directory, a program, a thread and an argument whose names are markup.
        place = os.path.join(folder, HOSTILE.replace("/", "|"))
        os.mkdir(place)
        program = os.path.join(place, "<b>&'\"")
        shutil.copy(SUBJECT, program)
        subject = Subject([program, HOSTILE], folder, b"ready")
        try:
            first, second = os.path.join(folder, "<i>1.pcp"), os.path.join(folder, "2.pcp")
            run([PCP("pcp-capture"), str(subject.process.pid), "-o", first, "--comment", HOSTILE])
            subject.capture(BIN, second)
            page = report([first, second])
        finally:
            subject.end()
        for text in (HOSTILE, os.path.basename(program), "<i>1.pcp", "descend", "wait_inlined (inlined)",
                     "qsort", "[stack]", "What differs", "7", "stored in the checkpoint"):
            check(text in page.text, "the report does not say %s" % text)
        check(any(name in page.text for name in ("libc.so.6", "libc-2")), "no library is named")


def recording():
    with Folder() as folder:
        trace = os.path.join(folder, "trace")
        run([PCP("pcp-rr"), "record", "-o", trace, "--", "/bin/sh", "-c",
             "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; (exit 0); done"])
        run([PCP("pcp-rr"), "create-checkpoints", "-i", "150", trace])
        found = sorted(os.path.join(directory, name) for directory, _, names in os.walk(trace)
                       for name in names if name.endswith(".pcp"))
        check(len(found) >= 2, "no checkpoints: %s" % found)
        copies = []
        for path in found[:3]:
            copies.append(os.path.join(folder, os.path.basename(path)))
            shutil.copy(path, copies[-1])
        page = report(copies, "--trace", trace)
        events = json.loads(run([PCP("pcp-rr"), "traceinfo", "--json", trace], expected=None).stdout or "{}")
        check("The recording" in page.text and "systemCall" in page.text, "no recording in the report")
        check(sum("events" in value for value in page.values) >= 1, "no events over time: %s" % events)
        marks = sum(value == "mark" for value in page.values)
        check(marks == len(copies), "%d checkpoints are marked" % marks)
        core = os.path.join(folder, "core")
        done = json.loads(run([PCP("pcp-convert"), "--json", "--to", "core", "--trace", trace, copies[1], "-o",
                               core]).stdout)
        check(done["cores"], str(done))
        for made in done["cores"]:
            check("NT_PRSTATUS" in run(["readelf", "-n", made["file"]]).stdout, "no core: %s" % made)
        bt = json.loads(run([PCP("pcp-inspect"), "--json", "bt", "--trace", trace, copies[1]]).stdout)
        check(all(thread["frames"] for thread in bt["threads"]), str(bt))


def goldens():
    with Folder() as folder:
        for name in sorted(os.listdir(os.path.join(GOLDEN, "valid"))):
            if name.endswith(".pcp"):
                path = os.path.join(folder, name)
                shutil.copy(os.path.join(GOLDEN, "valid", name), path)
                report([path])


def test():
    live()
    goldens()
    if os.path.exists(PCP("pcp-rr")):
        recording()


main(test)
