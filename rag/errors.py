"""Every failure that a user can mend, each with a message of one line that names the remedy.

RolewiseError
├── SettingsError      a setting, a row or an argument is wrong
├── SourceError        a document cannot be read
│   └── Unreadable     a file's bytes; the message says why, whoever catches it knows which file
├── VersionError       an index version is missing, damaged or does not match the settings
│   ├── IndexMissing
│   ├── IndexMismatch
│   │   └── IndexNewer
│   ├── IndexDamaged
│   └── IndexBusy
├── ModelError         a model is unknown, not pulled, or its file is not the expected one
│   └── ModelMissing
├── GeneratorError     a generator failed while answering
├── EngineError        the server that holds the index cannot be reached or used
└── Busy               too many ask at once
"""


class RolewiseError(Exception):
    """Base of all expected failures. `str(error)` is one line for a person."""


class SettingsError(RolewiseError):
    pass


class SourceError(RolewiseError):
    pass


class Unreadable(SourceError):
    pass


class VersionError(RolewiseError):
    pass


class IndexMissing(VersionError):
    pass


class IndexMismatch(VersionError):
    pass


class IndexNewer(IndexMismatch):
    pass


class IndexDamaged(VersionError):
    pass


class IndexBusy(VersionError):
    pass


class ModelError(RolewiseError):
    pass


class ModelMissing(ModelError):
    pass


class GeneratorError(RolewiseError):
    pass


class EngineError(RolewiseError):
    pass


class Busy(RolewiseError):
    pass


class GaveWay(Exception):
    """Work in the background ends, for a real question has come. No failure: it is tried again later."""
