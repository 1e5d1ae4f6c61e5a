"""Makes and checks JWTs by PyJWT, which shares no code with the server.

    make              prints keys of each kind, and tokens by them, as one JSON object
    check FILE TOKEN  prints the claims of a token, verified with the first key of FILE
"""

import base64
import hashlib
import hmac
import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = int(time.time())
RIGHTS = {"publish": ["live/*"], "watch": ["live/one", "open"]}


def encoded(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header, claims, secret=None):
    """What no library makes: signed by HMAC with any bytes, or not signed at all."""
    message = f"{encoded(header)}.{encoded(claims)}"
    signature = hmac.new(secret, message.encode(), hashlib.sha256).digest() if secret else b""
    return f"{message}.{encoded(signature)}"


def make():
    secret = hashlib.sha256(b"a secret of the test").digest()
    private = {
        "HS256": secret,
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    public = {
        "HS256": HMACAlgorithm.to_jwk(secret),
        "RS256": RSAAlgorithm.to_jwk(private["RS256"].public_key()),
        "ES256": ECAlgorithm.to_jwk(private["ES256"].public_key()),
        "EdDSA": OKPAlgorithm.to_jwk(private["EdDSA"].public_key()),
    }
    keys = [{**json.loads(jwk), "kid": f"the-{name}", "use": "sig"} for name, jwk in public.items()]
    good = {"exp": NOW + 600, **RIGHTS}

    def sign(claims, name="HS256", **more):
        return jwt.encode(claims, private[name], name, {"kid": f"the-{name}", **more})

    rsa_key = private["RS256"].public_key()
    pem = rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    modulus = rsa_key.public_numbers().n.to_bytes(256, "big")
    deep = "[" * 3000 + "]" * 3000
    forged = {"typ": "JWT", "kid": "the-HS256"}
    return {
        "keys": keys,
        "ed25519": {**json.loads(OKPAlgorithm.to_jwk(private["EdDSA"])), "kid": "the-EdDSA"},
        "good": {name: sign(good, name) for name in private},
        "good with nbf": sign({**good, "nbf": NOW - 5, "sub": "somebody", "more": {"a": [1]}}),
        "deep": by_hand({"alg": "HS256", **forged}, f'{{"exp": {NOW + 600}, "watch": ["open"], "a": {deep}}}'.encode(), secret),
        "expired": sign({**good, "exp": NOW - 600}),
        "for us": sign({**good, "aud": ["rekindle", "other"], "iss": "the-issuer"}),
        # None of these is let in.
        "bad": {
            "expired": sign({**good, "exp": NOW - 600}),
            "not yet": sign({**good, "nbf": NOW + 600}),
            "for ever": sign(RIGHTS),
            "exp is text": by_hand({"alg": "HS256", **forged}, {**good, "exp": "tomorrow"}, secret),
            "nbf is text": by_hand({"alg": "HS256", **forged}, {**good, "nbf": "0"}, secret),
            "exp is a list": by_hand({"alg": "HS256", **forged}, {**good, "exp": [NOW + 600]}, secret),
            "exp is negative": by_hand({"alg": "HS256", **forged}, {**good, "exp": -1}, secret),
            "exp twice": by_hand(
                {"alg": "HS256", **forged},
                f'{{"exp": {NOW - 600}, "exp": {NOW + 600}, "publish": ["*"], "watch": ["*"]}}'.encode(),
                secret,
            ),
            "for another": sign({**good, "aud": "another-service"}),
            "no rights": sign({"exp": NOW + 600}),
            "rights are text": sign({**good, "publish": "live/*"}),
            "rights are numbers": sign({**good, "publish": [1]}),
            "rights are wild": sign({**good, "publish": ["live/*", "../*"]}),
            "rights twice": by_hand(
                {"alg": "HS256", **forged},
                f'{{"exp": {NOW + 600}, "publish": [], "publish": ["*"], "watch": ["*"]}}'.encode(),
                secret,
            ),
            "claims are a list": by_hand({"alg": "HS256", **forged}, [good], secret),
            "rights are deep": by_hand(
                {"alg": "HS256", **forged}, f'{{"exp": {NOW + 600}, "watch": ["*"], "publish": {deep}}}'.encode(), secret
            ),
            "another kid": sign(good, kid="nobody"),
            "another's kid": sign(good, kid="the-RS256"),
            "no kid": by_hand({"alg": "HS256"}, good, secret),
            "kid is a number": by_hand({"alg": "HS256", "kid": 1}, good, secret),
            "none": by_hand({"alg": "none", **forged}, good),
            "None": by_hand({"alg": "None", **forged}, good),
            "none, signed": by_hand({"alg": "none", **forged}, good, secret),
            "no alg": by_hand(forged, good, secret),
            "the public key's PEM as a secret": by_hand({"alg": "HS256", "kid": "the-RS256"}, good, pem),
            "its modulus as a secret": by_hand({"alg": "HS256", "kid": "the-RS256"}, good, modulus),
            "EdDSA's public key as a secret": by_hand(
                {"alg": "HS256", "kid": "the-EdDSA"}, good, private["EdDSA"].public_key().public_bytes_raw()
            ),
            "another hash": jwt.encode(good, secret, "HS512", {"kid": "the-HS256"}),
            "another padding": sign_pss(private["RS256"], good),
            "another secret": jwt.encode(good, b"x" * 32, "HS256", {"kid": "the-HS256"}),
            "a key of its own": by_hand(
                {"alg": "HS256", "jwk": {"kty": "oct", "k": encoded(b"y" * 32)}, "kid": "mine"}, good, b"y" * 32
            ),
            "crit": sign(good, crit=["exp"], exp=NOW + 600),
            "changed": changed(sign({**good, "publish": []})),
            "cut off": sign(good)[:-5],
            "no signature": sign(good).rsplit(".", 1)[0] + ".",
            "four parts": sign(good) + ".x",
            "huge": sign({**good, "more": "x" * 12000}),
            "header is deep": encoded(('{"alg": "HS256", "a": ' + deep + "}").encode()) + ".e30.AAAA",
            "dots": "..",
        },
    }


def sign_pss(key, claims):
    return jwt.encode(claims, key, "PS256", {"kid": "the-RS256"})


def changed(token):
    """Other claims under the signature of the first ones."""
    header, _, signature = token.split(".")
    return f"{header}.{encoded({'exp': NOW + 600, **RIGHTS})}.{signature}"


def check(file, token):
    with open(file, encoding="utf-8") as opened:
        key = json.load(opened)["keys"][0]
    key.pop("d", None)
    found = jwt.PyJWK(key)
    header = jwt.get_unverified_header(token)
    assert header["kid"] == key["kid"], header
    algorithms = [found.algorithm_name]
    return jwt.decode(token, found.key, algorithms, audience="rekindle", options={"require": ["exp", "iat"]})


if __name__ == "__main__":
    print(json.dumps(make() if sys.argv[1] == "make" else check(*sys.argv[2:])))
