"""A web server that plays the few of the Hub's addresses that fetching a model or a data set needs."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """Serves `repositories`: "models/OWNER/NAME" or "datasets/OWNER/NAME" -> path -> bytes, but none in `gated`."""

    daemon_threads = True

    def __init__(self, repositories, gated=()):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories, self.gated, self.sent = repositories, gated, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def commit(self, name):
        return hashlib.sha1(b"".join(self.repositories[name].values())).hexdigest()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        is_api = path.startswith("api/")
        words = path.removeprefix("api/").split("/")
        if not is_api and words[0] != "datasets":
            words = ["models", *words]
        name, rest = "/".join(words[:3]), words[3:]
        files = self.server.repositories.get(name)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if name in self.server.gated and not (is_api and rest[:1] in ([], ["revision"])):
            return self.refuse(403 if "Authorization" in self.headers else 401, "GatedRepo")
        match rest:
            case [] | ["revision", _]:
                info = {"id": name.partition("/")[2], "sha": self.server.commit(name), "private": False, "tags": []}
                self.answer({**info, "siblings": [{"rfilename": path} for path in files], "downloads": 0, "likes": 0})
            case ["tree", _, *_]:
                within = "/".join(rest[2:])
                self.answer([row for row in tree(files) if row["path"].startswith(within and within + "/")])
            case ["paths-info", _]:
                asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
                paths = json.loads(asked)["paths"] if asked.startswith("{") else parse_qs(asked)["paths"]
                self.answer([row for row in tree(files) if row["path"] in paths])
            case ["resolve", _, *place] if "/".join(place) in files:
                data = files["/".join(place)]
                if self.command == "GET":
                    self.server.sent.append(f"{name}/{'/'.join(place)}")
                tag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": self.server.commit(name)}
                self.send(200, data, {**tag, "Accept-Ranges": "bytes"})
            case _:
                self.refuse(404, "EntryNotFound")

    do_HEAD = do_POST = do_GET

    def answer(self, value):
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status, code):
        self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def send(self, status, data, headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *words):
        """Silent."""


def tree(files):
    """The Hub's list of a repository's files and folders."""
    folders = {path.rpartition("/")[0] for path in files} - {""}
    rows = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in sorted(folders)]
    for path, data in files.items():
        rows.append({"type": "file", "path": path, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)})
    return rows
