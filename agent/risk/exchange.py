"""Bodies of the activation and risk requests and answers (design/domain.md section 8; risk.md section 11)."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.domain.declaration import Message, Trailer
from agent.domain.instruction import ASSESSMENT_TYPE, Vehicle
from agent.domain.routing import Assessment
from agent.domain.signed import BadSignature, OKPKey, sign, verify


class Gnss(Message, frozen=True):
    """A position in degrees, WGS 84."""

    latitude: float
    longitude: float


class Location(Message, frozen=True):
    """Where an activation took place."""

    gnss: Gnss
    qualifier_of_identification: str = "W"
    """`W` = GNSS coordinates (code list CL326)."""


class ActivatedDeclaration(Message, frozen=True):
    """One declaration of an activation or risk request; `mrn` None = empty run."""

    mrn: str | None
    version: int
    activation_id: str


class ActivationRequest(Message, frozen=True):
    """`POST /v1/activations`; header `Idempotency-Key` = the activationId."""

    jrn: str
    crossing: str
    customs_office: str | None
    direction: str
    activation_date_time: str
    location: Location | None
    """None for an activation by hand of a vehicle whose position is not known."""
    variant: str
    """AUTOMATIC, MANUAL or FALLBACK."""
    declarations: tuple[ActivatedDeclaration, ...]
    evidence_digest: str | None = None
    officer: str | None = None


class ActivationResult(Message, frozen=True):
    """Answer for one declaration."""

    mrn: str | None
    version: int
    activation_id: str
    result: str
    """ACCEPTED, ALREADY_ACTIVATED or REFUSED."""
    acceptance_date_time: str | None = None
    reason: str | None = None


class ActivationAnswer(Message, frozen=True):
    """Answer of `POST /v1/activations`."""

    results: tuple[ActivationResult, ...]


class RiskRequest(Message, frozen=True):
    """`POST /v1/risk-assessments`; the same `requestId` gets the same bytes back."""

    request_id: str
    jrn: str
    crossing: str
    customs_office: str | None
    direction: str
    activation_date_time: str
    vehicle: Vehicle
    declarations: tuple[ActivatedDeclaration, ...]
    lane: str | None = None
    trailers: tuple[Trailer, ...] = ()
    indicators: dict[str, Any] = msgspec.field(default_factory=dict)


class Pending(Message, frozen=True):
    """A declaration that is not decided yet."""

    activation_id: str
    retry_after_ms: int = 500


class RiskAnswer(Message, frozen=True):
    """Answer of `POST /v1/risk-assessments`: one signed assessment for each declaration."""

    assessments: tuple[Assessment, ...] = ()
    pending: tuple[Pending, ...] = ()


def assessment_bytes(assessment: Assessment) -> bytes:
    """The bytes that are signed: the assessment as JSON without its signature."""
    return msgspec.json.encode(msgspec.structs.replace(assessment, signature=None))


def sign_assessment(assessment: Assessment, key: OKPKey, kid: str) -> Assessment:
    """The assessment with the authority's signature."""
    return msgspec.structs.replace(assessment, signature=sign(assessment_bytes(assessment), key, kid, ASSESSMENT_TYPE))


def verified_assessment(assessment: Assessment, keys: dict[str, OKPKey]) -> Assessment:
    """The assessment that the signature covers; what stands beside it in the answer is not believed.

    Raises:
        BadSignature: unsigned, signed by another key, or the signed text is no assessment.
    """
    if assessment.signature is None:
        raise BadSignature("assessment without signature")
    try:
        return msgspec.json.decode(verify(assessment.signature, keys, ASSESSMENT_TYPE), type=Assessment)
    except msgspec.MsgspecError as error:
        raise BadSignature(f"signed text is no assessment: {error}") from error
