"""A conversation in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.errors import RolewiseError, SettingsError
from rag.terminal import Status, dim, is_plain, laid_out, look_of, one_line, passage, show_answer
from rag.types import Answer, Message
from rag.words import stems

if TYPE_CHECKING:
    from rag.answering import Engine
    from rag.conversations import Store

COMMANDS = {
    "/help": "list these commands",
    "/sources": "show the passages that the last answer was made from, whole",
    "/role NAME": "read only documents about this role; without a name, all",
    "/generator NAME": "let this one write: extractive, local or hosted",
    "/new": "begin a new conversation",
    "/save FILE": "write the conversation into FILE, with its quotations as footnotes",
    "/quit": "end, as Ctrl-D does; Ctrl-C stops an answer",
}


class Chat:
    """A conversation in the terminal, or line by line where stdin is none. It is kept as those of the page are."""

    def __init__(
        self, engine: Callable[[], Engine], store: Store, *, role: str | None = None, generator: str | None = None
    ) -> None:
        """Raises SettingsError for a role that is not there. `engine` gives the one to ask now."""
        self._engine, self._store = engine, store
        self._role = engine().version.roles.resolve(role) if role else None
        self._generator = generator
        self._history: list[Message] = []
        self._conversation = ""
        self._last: Answer | None = None
        self._saved: set[Path] = set()
        self._is_terminal = sys.stdin.isatty()

    def go_on(self) -> None:
        """Goes on with the conversation that was kept last."""
        newest = self._store.list(limit=1)
        if not newest:
            _say("There is no conversation yet; this begins one.")
            return
        self._conversation = newest[0].id
        turns = self._store.turns(self._conversation)
        for turn in turns:
            self._remember(turn.question, turn.record["answer"])
        count = len(turns)
        _say(f"Going on with “{one_line(newest[0].title)}”, {count} question{'s' if count != 1 else ''} so far.")

    def run(self) -> None:
        """Returns at the end of the input or with /quit. A question that fails is one line, and the next is asked."""
        if self._is_terminal:
            self._edit()
            version = self._engine().version
            _say(f"{len(version.documents):,} documents. Ask a question, or /help. Ctrl-D ends.")
        while (line := self._read()) is not None:
            try:
                if line.startswith("/"):
                    if not self._does(*line.split(maxsplit=1)):
                        return
                elif line:
                    self._ask(line)
            except RolewiseError as error:
                _say(f"error: {error}")
            except KeyboardInterrupt:
                if not self._is_terminal:
                    raise
                Status().clear()  # the terminal has written ^C
                _say("Stopped.")

    def _read(self) -> str | None:
        """The next line, None at the end of the input. Ctrl-C at the prompt begins the line anew."""
        while True:
            try:
                if self._is_terminal and sys.stdout.isatty():
                    return input("> ").strip()
                if self._is_terminal:
                    click.echo("> ", nl=False, err=True)
                line = sys.stdin.readline()
                return line.strip() if line else None
            except EOFError:
                click.echo(err=True)
                return None
            except KeyboardInterrupt:
                if not self._is_terminal:
                    raise
                click.echo(err=True)

    def _ask(self, question: str) -> None:
        from rag.conversations import LONGEST_TITLE
        from rag.record import answer_record

        options = {"history": tuple(self._history), "role": self._role, "generator": self._generator}
        self._last = answer = show_answer(self._engine(), question, hint="/sources shows them whole.", **options)
        click.echo()
        self._remember(answer.question, answer.text)
        try:
            self._conversation = self._conversation or self._store.begin(answer.question[:LONGEST_TITLE])
            self._store.add_turn(self._conversation, answer.question, answer_record(answer) | {"role": self._role})
        except RolewiseError:
            self._conversation = ""  # it may have been deleted; what follows is kept in another
            raise

    def _remember(self, question: str, answer: str) -> None:
        self._history += [Message("user", question), Message("assistant", answer)]

    def _does(self, command: str, argument: str = "") -> bool:
        """Whether the conversation goes on after a command."""
        match command:
            case "/help":
                click.echo("\n".join(f"{name:<16} {what}" for name, what in COMMANDS.items()))
            case "/sources":
                self._show_sources()
            case "/role":
                roles = self._engine().version.roles
                self._role = roles.resolve(argument) if argument else None
                known = f" Roles: {', '.join(roles.names)}." if roles.names else ""
                _say(f"Only documents about: {self._role}." if self._role else f"All documents.{known}")
            case "/generator":
                self._choose(argument)
            case "/new":
                self._history, self._conversation, self._last = [], "", None
                _say("A new conversation.")
            case "/save":
                self._save(argument)
            case "/quit":
                return False
            case _:
                _say(f"There is no {command}. /help lists the commands.")
        return True

    def _show_sources(self) -> None:
        if self._last is None:
            raise SettingsError("nothing was answered yet. Ask something first.")
        look, asked = look_of(sys.stdout), frozenset(stems(self._last.read_as or self._last.question))
        for number, one in enumerate(self._last.passages, start=1):
            click.echo(passage(number, one, look, asked))

    def _choose(self, generator: str) -> None:
        """Loads it at once, so that what it lacks is told now."""
        if generator not in _generators():
            raise SettingsError(f"give one of: {', '.join(_generators())}.")
        with Status() as status:
            status(f"Loading {generator} …")
            self._engine().generator_named(generator)
        self._generator = generator
        _say(f"Written by: {generator}.")

    def _save(self, name: str) -> None:
        """Overwrites only what it wrote itself."""
        path = Path(name).expanduser()
        if not name or not self._conversation:
            raise SettingsError("give a file: /save FILE." if not name else "nothing is kept yet. Ask something first.")
        text = self._store.as_markdown(self._conversation)
        try:
            with path.open("w" if path in self._saved else "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise SettingsError(f"{name} cannot be written ({error.strerror}). Give another file.") from error
        self._saved.add(path)
        _say(f"Saved in {name}.")

    def _edit(self) -> None:
        """Lets the line be edited, its history gone through, and commands be completed, where there is readline."""
        try:
            import readline
        except ImportError:
            return
        names = [name.split()[0] for name in COMMANDS]
        roles = [role for role in self._engine().version.roles.names if is_plain(role)]
        whole = [*names, *(f"/role {role}" for role in roles), *(f"/generator {one}" for one in _generators())]

        def complete(typed: str, state: int) -> str | None:
            found = [one for one in whole if typed and one.startswith(typed)]
            return found[state] if state < len(found) else None

        readline.set_completer_delims("")
        readline.set_completer(complete)
        readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
        for message in self._history:
            if message.role == "user" and is_plain(message.content):
                readline.add_history(message.content)


def _say(text: str) -> None:
    """What is told beside the answers goes to stderr."""
    click.echo(laid_out(one_line(text), look_of(sys.stderr), style=dim), err=True)


def _generators() -> tuple[str, ...]:
    from typing import get_args

    from rag.settings import GeneratorName

    return get_args(GeneratorName)
