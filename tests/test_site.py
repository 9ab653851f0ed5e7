#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every link of the site that is not to the network leads somewhere: test_site.py <folder of html>

A page, a file, a picture, and where a link names a place in a page, that place."""
import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places.update(attributes[name] for name in ("id", "name") if attributes.get(name))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def dead(folder):
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            place = urllib.parse.unquote(url.fragment)
            if not target.is_file() or (place and place not in pages[target].places):
                yield f"{path.name}: {link}"
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links")


found = list(dead(pathlib.Path(sys.argv[1]).resolve()))
sys.exit("\n".join(["links that lead nowhere:", *found]) if found else 0)
