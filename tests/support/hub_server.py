"""A Hub on loopback: the resolve protocol and the part of the API that uploads use, with repos in memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

RIGHT_TOKEN, READ_TOKEN = 'hf_maywrite', 'hf_mayonlyread'


def is_large(path: str) -> bool:
    """Whether a file lies beside the repository, which holds a pointer to it (Git LFS)."""
    return path.endswith('.safetensors')


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


@dataclass
class Repo:
    """The files after each commit; as on the Hub, the first commit is made with the repo."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{'.gitattributes': b'*.safetensors filter=lfs\n'}])
    changes: list[set[str]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    @property
    def commit_id(self) -> str:
        return f'{len(self.commits):040x}'


class HubServer:
    """Context manager; ``url`` is the endpoint.

    Attributes:
        repos: By id.
        objects: Content of large files by sha256; a commit may name only those.
        requests: Method and path of everything that was asked for.
        broken: How many more requests of a route (``create``, ``object``, ``commit``, ``answer``) lose their
            connection: before anything was done, but for ``answer``, which is a commit that was made.
        status: An error that every request of a route is answered with.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken: Counter[str] = Counter()
        self.status: dict[str, int] = {}
        handler = type('Handler', (_Handler,), {'hub': self})
        # large files come from another host, to which clients send no token
        self.servers = [ThreadingHTTPServer(('127.0.0.1', 0), handler) for _ in range(2)]
        self.url, self.storage_url = (f'http://127.0.0.1:{server.server_address[1]}' for server in self.servers)

    def __enter__(self) -> HubServer:
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


class _Answer(Exception):
    """Ends a request early."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = 'HTTP/1.1'
    ROUTES = (
        ('GET', 'whoami', r'/api/whoami-v2'),
        ('POST', 'create', r'/api/repos/create'),
        ('POST', 'validate', r'/api/validate-yaml'),
        ('POST', 'preupload', r'/api/models/([^/]+/[^/]+)/preupload/main'),
        ('POST', 'commit', r'/api/models/([^/]+/[^/]+)/commit/main'),
        ('GET', 'info', r'/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?'),
        ('GET', 'tree', r'/api/models/([^/]+/[^/]+)/tree/[^/]+(?:/(.*))?'),
        ('POST', 'batch', r'/([^/]+/[^/]+)\.git/info/lfs/objects/batch'),
        ('PUT', 'object', r'/objects/(\w+)'),
        ('GET', 'download', r'/objects/(\w+)'),
        ('GET', 'resolve', r'/([^/]+/[^/]+)/resolve/[^/]+/(.+)'),
    )

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        method = 'GET' if self.command == 'HEAD' else self.command
        with contextlib.suppress(_Answer):
            for accepted, name, pattern in self.ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method == accepted:
                    self.serve(name, match.groups())
            self.answer(404, {'error': 'not found'}, **{'X-Error-Code': 'EntryNotFound'})

    do_HEAD = do_POST = do_PUT = do_GET

    def serve(self, name: str, arguments: tuple[str, ...]) -> None:
        length = int(self.headers.get('Content-Length', 0))
        if self.hub.broken[name] > 0:
            self.hub.broken[name] -= 1
            self.rfile.read(length // 2)
            self.hang_up()
        self.body = self.rfile.read(length)
        if name not in ('object', 'download'):
            self.authorize(name)
        if name in self.hub.status:
            self.answer(self.hub.status[name], {'error': 'so the test wants it'})
        getattr(self, f'serve_{name}')(*arguments)

    def authorize(self, name: str) -> None:
        token = self.headers.get('Authorization', '').removeprefix('Bearer ')
        if token not in ('', RIGHT_TOKEN, READ_TOKEN):
            message = 'Invalid credentials in Authorization header'
            self.answer(401, {'error': message}, **{'X-Error-Message': message})
        self.known = bool(token)
        if name in ('create', 'preupload', 'commit', 'batch') and token != RIGHT_TOKEN:
            self.answer(403, {'error': "You don't have the rights"}, **{'X-Error-Message': "You don't have the rights"})

    def answer(self, status: int, content: object = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {'Content-Length': str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
        raise _Answer

    def hang_up(self) -> None:
        self.close_connection = True
        raise _Answer

    def repo(self, repo_id: str) -> Repo:
        repo = self.hub.repos.get(repo_id)
        if repo is None or repo.private and not self.known:
            self.answer(404 if self.known else 401, {'error': 'not found'}, **{'X-Error-Code': 'RepoNotFound'})
        return repo

    def described(self, path: str, content: bytes) -> dict:
        about = {'type': 'file', 'path': path, 'size': len(content), 'oid': git_blob_id(content)}
        if is_large(path):
            oid = sha256(content)
            pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n'.encode()
            about['oid'] = git_blob_id(pointer)
            about['lfs'] = {'oid': oid, 'size': len(content), 'pointerSize': len(pointer)}
        return about

    def serve_whoami(self) -> None:
        self.answer(200, {'type': 'user', 'name': 'someone', 'orgs': []})

    def serve_create(self) -> None:
        wish = json.loads(self.body)
        repo_id = f'{wish["organization"]}/{wish["name"]}'
        if repo_id in self.hub.repos:
            self.answer(409, {'error': 'You already created this model repo', 'url': f'{self.hub.url}/{repo_id}'})
        self.hub.repos[repo_id] = Repo(wish.get('visibility') == 'private')
        self.answer(200, {'url': f'{self.hub.url}/{repo_id}'})

    def serve_validate(self) -> None:
        self.answer(200, {'errors': [], 'warnings': []})

    def serve_info(self, repo_id: str) -> None:
        repo = self.repo(repo_id)
        siblings = [{'rfilename': path} for path in repo.files]
        self.answer(200, {'id': repo_id, 'sha': repo.commit_id, 'private': repo.private, 'siblings': siblings})

    def serve_tree(self, repo_id: str, folder: str | None) -> None:
        files = self.repo(repo_id).files
        if folder:
            self.answer(404, {'error': 'no such folder'}, **{'X-Error-Code': 'EntryNotFound'})
        self.answer(200, [self.described(path, content) for path, content in files.items()])

    def serve_preupload(self, repo_id: str) -> None:
        there, answer = self.repo(repo_id).files, []
        for path in (file['path'] for file in json.loads(self.body)['files']):
            file = {'path': path, 'uploadMode': 'lfs' if is_large(path) else 'regular', 'shouldIgnore': False}
            if path in there:  # by what it names the content: the client leaves out what is there already
                file['oid'] = sha256(there[path]) if is_large(path) else git_blob_id(there[path])
            answer.append(file)
        self.answer(200, {'files': answer})

    def serve_batch(self, repo_id: str) -> None:
        self.repo(repo_id)
        objects = json.loads(self.body)['objects']
        for entry in objects:
            if entry['oid'] not in self.hub.objects:
                entry['actions'] = {'upload': {'href': f'{self.hub.storage_url}/objects/{entry["oid"]}'}}
        self.answer(200, {'transfer': 'basic', 'objects': objects})

    def serve_object(self, oid: str) -> None:
        if sha256(self.body) != oid:
            self.answer(400, {'error': 'wrong content'})
        self.hub.objects[oid] = self.body
        self.answer(200, {})

    def serve_commit(self, repo_id: str) -> None:
        repo, added = self.repo(repo_id), {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry['value']
            if entry['key'] == 'file':
                added[value['path']] = base64.b64decode(value['content'])
            elif entry['key'] == 'lfsFile':
                if value['oid'] not in self.hub.objects:
                    self.answer(400, {'error': 'this object was not uploaded'})
                added[value['path']] = self.hub.objects[value['oid']]
        repo.commits.append({**repo.files, **added})
        repo.changes.append(set(added))
        if self.hub.broken['answer'] > 0:
            self.hub.broken['answer'] -= 1
            self.hang_up()
        commit_url = f'{self.hub.url}/{repo_id}/commit/{repo.commit_id}'
        self.answer(200, {'success': True, 'commitOid': repo.commit_id, 'commitUrl': commit_url})

    def serve_resolve(self, repo_id: str, path: str) -> None:
        repo = self.repo(repo_id)
        commit = {'X-Repo-Commit': repo.commit_id}
        if path not in repo.files:
            self.answer(404, {'error': 'no such file'}, **commit, **{'X-Error-Code': 'EntryNotFound'})
        about = self.described(path, repo.files[path])
        commit['ETag'] = f'"{about["oid"]}"'
        if 'lfs' in about:
            linked = {'X-Linked-Etag': f'"{about["lfs"]["oid"]}"', 'X-Linked-Size': str(about['size'])}
            location = {'Location': f'{self.hub.storage_url}/objects/{about["lfs"]["oid"]}'}
            self.answer(302, b'', **commit, **linked, **location)
        self.answer(200, repo.files[path], **commit)

    def serve_download(self, oid: str) -> None:
        if oid not in self.hub.objects:
            self.answer(404, {'error': 'no such object'})
        self.answer(200, self.hub.objects[oid], ETag=f'"{oid}"')
