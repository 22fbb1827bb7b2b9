"""A Hub on the loopback interface: what huggingface_hub and transformers ask of one, in memory, with faults on demand.

Speaks plain LFS (clients run with HF_HUB_DISABLE_XET=1). A commit is applied under one lock, refused with 412
when its parent is not the head, as the Hub does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.publishers.loopback_repository import File, Repository

LARGE = (".safetensors", ".bin", ".model")
ATTRIBUTES = b"*.safetensors filter=lfs\n*.bin filter=lfs\n*.model filter=lfs\n"


class Answer(Exception):
    """Ends a request with a status, a body and headers."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}


NEVER = "1970-01-01T00:00:00.000Z"
DROPPED = 0
"""Status of an Answer that is none: the connection is closed instead."""
HELD = -1
"""Status of an Answer that never comes: the connection stays open, and nothing is sent."""

Fault = Callable[[str, str], Answer | None]


class LoopbackHub:
    """Use as a context manager; `url` is its endpoint.

    `before` and `after` are called with method and path of every request, before it has any effect and after it had
    all of it; an Answer they return is sent instead.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.owner = "acme"
        """Whose token it is."""
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        """Repositories that the token may read and not write."""
        self.before: Fault = lambda method, path: None
        self.after: Fault = lambda method, path: None
        self.lock = threading.RLock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> LoopbackHub:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, part: str) -> int:
        return sum(1 for verb, path in self.requests if verb == method and part in path)

    def create(self, name: str, private: bool = True) -> Repository:
        repository = self.repositories[name] = Repository(private)
        repository.add({".gitattributes": File(ATTRIBUTES, large=False)})
        return repository


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.query = parse_qs(url.query)
        self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.sent = self._chunks()
        with self.hub.lock:
            self.hub.requests.append((self.command, path))
        try:
            if fault := self.hub.before(self.command, path):
                raise fault
            try:
                with self.hub.lock:
                    self._route(path.strip("/").split("/"))
            except Answer:
                if fault := self.hub.after(self.command, path):
                    raise fault from None
                raise
        except Answer as answer:
            self._answer(answer)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, answer: Answer) -> None:
        if answer.status == DROPPED:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if answer.status == HELD:
            self.hub.closing.wait()
            self.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _route(self, parts: list[str]) -> None:
        match parts:
            case ["api", "repos", "create"]:
                self._create()
            case ["api", "whoami-v2"]:
                known = {"name": self.hub.owner, "orgs": [{"name": "acme-labs", "roleInOrg": "read"}]}
                raise Answer(200, known) if self._authorized() else Answer(401, {"error": "no"})
            case ["api", "models"]:
                [author] = self.query["author"]
                raise Answer(200, [{"id": name} for name in self.hub.repositories if name.startswith(f"{author}/")])
            case ["api", "validate-yaml"]:
                self._validate()
            case ["api", "models", owner, name, *rest]:
                self._api(f"{owner}/{name}", self._repository(f"{owner}/{name}"), rest)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self._batch(name.removesuffix(".git"), owner)
            case ["lfs", oid]:
                self._store(oid)
            case ["verify", oid]:
                sent = json.loads(self.sent)
                raise Answer(200 if len(self.hub.objects.get(oid, b"")) == sent["size"] else 404, {})
            case [owner, name, "resolve", revision, *path]:
                self._resolve(self._repository(f"{owner}/{name}"), revision, "/".join(path))
        raise Answer(404, {"error": "no such page"})

    def _authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _repository(self, name: str) -> Repository:
        if self.headers.get("Authorization") and not self._authorized():
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            raise Answer(401, {"error": "Invalid credentials in Authorization header"}, message)
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._authorized()):
            raise Answer(404 if self._authorized() else 401, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        return repository

    def _create(self) -> None:
        if not self._authorized():
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        sent = json.loads(self.sent)
        name = f"{sent['organization']}/{sent['name']}"
        body = {"url": f"{self.hub.url}/{name}", "name": name}
        if name in self.hub.repositories:
            raise Answer(409, body | {"error": "You already created this model repo"})
        self.hub.create(name, private=sent.get("visibility") == "private")
        raise Answer(200, body)

    def _validate(self) -> None:
        block = json.loads(self.sent)["content"].split("---\n")[1]
        metadata = yaml.safe_load(block)
        wrong = [key for key in ("tags", "license") if key not in metadata]
        errors = [{"message": f'"{key}" is required'} for key in wrong]
        raise Answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def _api(self, name: str, repository: Repository, rest: list[str]) -> None:
        writes = self.command in ("POST", "DELETE") and rest and rest[0] != "paths-info"
        if (writes or rest[-1:] == ["write"]) and (not self._authorized() or name in self.hub.refused):
            raise Answer(403, {"error": "You don't have the rights to write to this repository"})
        match rest:
            case ["auth-check", *_]:
                raise Answer(200, {})
            case []:
                self._info(name, repository, "main")
            case ["revision", revision]:
                self._info(name, repository, revision)
            case ["commits", _]:
                rows = [
                    {
                        "id": commit,
                        "title": repository.titles.get(commit, ""),
                        "message": "",
                        "date": NEVER,
                        "authors": [],
                    }
                    for commit in reversed(repository.history)
                ]
                raise Answer(200, rows)
            case ["tree", revision, *below]:
                tree = self._tree(repository, revision)
                under = "/".join(below)
                rows = [file.row(path) for path, file in sorted(tree.items()) if path.startswith(under)]
                if under and not rows:
                    raise Answer(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
                raise Answer(200, rows)
            case ["refs"]:
                heads = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head}]
                tags = [
                    {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
                    for tag, commit in repository.tags.items()
                ]
                raise Answer(200, {"branches": heads, "converts": [], "tags": tags})
            case ["paths-info", revision]:
                tree = self._tree(repository, revision)
                raise Answer(
                    200, [tree[path].row(path) for path in parse_qs(self.sent.decode())["paths"] if path in tree]
                )
            case ["preupload", revision]:
                self._preupload(self._tree(repository, revision))
            case ["commit", "main"]:
                self._commit(name, repository)
            case ["tag", revision] if self.command == "POST":
                tag = json.loads(self.sent)["tag"]
                commit = repository.resolve(revision)
                if tag in repository.tags or commit is None:
                    raise Answer(409 if commit else 404, {"error": "Tag reference exists already"})
                repository.tags[tag] = commit
                raise Answer(200, {})

    def _tree(self, repository: Repository, revision: str) -> dict[str, File]:
        commit = repository.resolve(revision)
        if commit is None:
            raise Answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        return repository.commits[commit]

    def _info(self, name: str, repository: Repository, revision: str) -> None:
        tree = self._tree(repository, revision)
        siblings = [{"rfilename": path} for path in sorted(tree)]
        sha = repository.resolve(revision)
        raise Answer(
            200, {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": siblings}
        )

    def _preupload(self, tree: dict[str, File]) -> None:
        rows = []
        for sent in json.loads(self.sent)["files"]:
            large = sent["path"].endswith(LARGE)
            row = {"path": sent["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if held := tree.get(sent["path"]):
                row["oid"] = held.row("")["lfs"]["oid"] if held.large else held.oid
            rows.append(row)
        raise Answer(200, {"files": rows})

    def _batch(self, name: str, owner: str) -> None:
        self._repository(f"{owner}/{name}")
        objects = []
        for sent in json.loads(self.sent)["objects"]:
            row: dict[str, Any] = {"oid": sent["oid"], "size": sent["size"]}
            if sent["oid"] not in self.hub.objects:
                upload = {"href": f"{self.hub.url}/lfs/{sent['oid']}"}
                row["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify/{sent['oid']}"}}
            objects.append(row)
        raise Answer(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def _store(self, oid: str) -> None:
        if hashlib.sha256(self.sent).hexdigest() != oid:
            raise Answer(400, {"error": "hash mismatch"})
        self.hub.objects[oid] = self.sent
        raise Answer(200, b"")

    def _commit(self, name: str, repository: Repository) -> None:
        header, *lines = (json.loads(line) for line in self.sent.splitlines())
        if header["value"].get("parentCommit", repository.head) != repository.head:
            raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        tree = dict(repository.commits[repository.head])
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    tree[value["path"]] = File(base64.b64decode(value["content"]), large=False)
                case "lfsFile":
                    tree[value["path"]] = File(self.hub.objects[value["oid"]], large=True)
                case "deletedFile":
                    del tree[value["path"]]
        commit = repository.add(tree)
        repository.titles[commit] = header["value"]["summary"]
        raise Answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _resolve(self, repository: Repository, revision: str, path: str) -> None:
        tree = self._tree(repository, revision)
        if path not in tree:
            raise Answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
        file = tree[path]
        row = file.row(path)
        headers = {
            "X-Repo-Commit": str(repository.resolve(revision)),
            "ETag": f'"{row["lfs"]["oid"] if file.large else file.oid}"',
            "Content-Length": str(len(file.content)),
        }
        raise Answer(200, file.content, headers)
