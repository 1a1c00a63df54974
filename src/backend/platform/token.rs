//! Signed session tokens: who somebody is, as what, and until when. Only the login service signs;
//! everybody verifies, and remembers what was verified or came from the issuer (boundedly), so that a
//! signature is checked once a session at most, and not once a request.

use std::cell::RefCell;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::quick::QuickMap;
use crate::base::{rng::Rng, time::Wall};

/// Tokens that a verifier remembers, at least; at most twice as many.
pub const REMEMBERED: usize = 16_384;

/// As what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Offers journeys.
    Driver,
    /// Asks for journeys.
    Passenger,
    /// Reads back.
    Auditor,
}

const ROLES: [Role; 3] = [Role::Driver, Role::Passenger, Role::Auditor];

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// Whose it is.
    pub account: u64,
    /// As what.
    pub role: Role,
    /// Good until then.
    pub expires: Wall,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one of ours at all.
    #[error("the token is malformed")]
    Malformed,
    /// Its signature is wrong.
    #[error("the token is forged")]
    Forged,
    /// Its time is over.
    #[error("the token has expired: log in again")]
    Expired,
}

/// The first byte: another layout gets another one.
const LAYOUT: u8 = 1;
const CLAIMS_LEN: usize = 18;
const TOKEN_LEN: usize = CLAIMS_LEN + Signature::BYTE_SIZE;

impl Claims {
    fn to_bytes(self) -> [u8; CLAIMS_LEN] {
        let mut bytes = [0; CLAIMS_LEN];
        bytes[0] = LAYOUT;
        bytes[1] = self.role as u8;
        bytes[2..10].copy_from_slice(&self.account.to_be_bytes());
        bytes[10..].copy_from_slice(&self.expires.0.to_be_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| {
            Some(u64::from_be_bytes(bytes.get(range)?.try_into().ok()?))
        };
        if *bytes.first()? != LAYOUT {
            return None;
        }
        let role = *ROLES.get(usize::from(*bytes.get(1)?))?;
        Some(Self { account: number(2..10)?, role, expires: Wall(number(10..CLAIMS_LEN)?) })
    }
}

fn key_of_seed(seed: &str) -> SigningKey {
    let mut stream = Rng::from_seed(seed).fork("token-key");
    let mut secret = [0; 32];
    for part in secret.chunks_exact_mut(8) {
        part.copy_from_slice(&stream.u64().to_le_bytes());
    }
    SigningKey::from_bytes(&secret)
}

/// Signs tokens. For the login service alone.
pub struct Signer(SigningKey);

impl Signer {
    /// The signer of the run with that seed.
    pub fn of_seed(seed: &str) -> Self {
        Self(key_of_seed(seed))
    }

    /// The token that says `claims`.
    pub fn sign(&self, claims: Claims) -> String {
        let payload = claims.to_bytes();
        let mut token = [0; TOKEN_LEN];
        token[..CLAIMS_LEN].copy_from_slice(&payload);
        token[CLAIMS_LEN..].copy_from_slice(&self.0.sign(&payload).to_bytes());
        base64url(&token)
    }
}

/// Verifies tokens and remembers those that were good.
pub struct Verifier {
    key: VerifyingKey,
    /// Planted: a token has no end.
    endless: bool,
    remembered: RefCell<Remembered>,
}

/// Two generations: when the young one is full it becomes the old one and the old one is forgotten.
#[derive(Default)]
struct Remembered {
    young: QuickMap<Box<[u8]>, Claims>,
    old: QuickMap<Box<[u8]>, Claims>,
    checks: u64,
}

impl Remembered {
    fn keep(&mut self, token: &[u8], claims: Claims) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token.into(), claims);
    }
}

impl Verifier {
    /// The verifier of the run with that seed: it keeps the public half of the key only.
    pub fn of_seed(seed: &str) -> Self {
        let key = key_of_seed(seed).verifying_key();
        Self { key, endless: false, remembered: RefCell::default() }
    }

    /// Planted: the same, and a token has no end.
    #[must_use]
    pub fn endless(self, endless: bool) -> Self {
        Self { endless, ..self }
    }

    /// What `token` says, if it is ours and its time is not over at `now`.
    pub fn verify(&self, token: impl AsRef<[u8]>, now: Wall) -> Result<Claims, TokenError> {
        let token = token.as_ref();
        let known = self.remembered.borrow().young.get(token).copied();
        let claims = match known {
            Some(claims) => claims,
            None => self.look_closer(token)?,
        };
        // A remembered token expires like any other.
        if claims.expires <= now && !self.endless { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// Remembers a token that the login service itself has just given out: whoever got it from there
    /// need not check its signature.
    pub fn trust(&self, token: &str) {
        let bytes = of_base64url(token.as_bytes());
        if let Some(claims) = bytes.and_then(|bytes| Claims::of_bytes(&bytes[..CLAIMS_LEN])) {
            self.remembered.borrow_mut().keep(token.as_bytes(), claims);
        }
    }

    /// How many signatures were checked.
    pub fn checks(&self) -> u64 {
        self.remembered.borrow().checks
    }

    fn look_closer(&self, token: &[u8]) -> Result<Claims, TokenError> {
        let mut remembered = self.remembered.borrow_mut();
        let claims = if let Some(claims) = remembered.old.remove(token) {
            claims
        } else {
            remembered.checks += 1;
            self.check(token)?
        };
        remembered.keep(token, claims);
        Ok(claims)
    }

    fn check(&self, token: &[u8]) -> Result<Claims, TokenError> {
        let bytes = of_base64url(token).ok_or(TokenError::Malformed)?;
        let (payload, signature) = bytes.split_at(CLAIMS_LEN);
        let signature = Signature::from_slice(signature).map_err(|_| TokenError::Malformed)?;
        self.key.verify_strict(payload, &signature).map_err(|_| TokenError::Forged)?;
        Claims::of_bytes(payload).ok_or(TokenError::Malformed)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// Exactly one token's worth of bytes, and exactly one text for them.
fn of_base64url(text: &[u8]) -> Option<[u8; TOKEN_LEN]> {
    let mut bytes = [0; TOKEN_LEN];
    let (mut held, mut bits, mut at) = (0_u32, 0_u32, 0);
    for &letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *bytes.get_mut(at)? = (held >> bits) as u8;
            held &= (1 << bits) - 1;
            at += 1;
        }
    }
    (at == TOKEN_LEN && held == 0 && bits < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn claims(account: u64) -> Claims {
        Claims { account, role: Role::Passenger, expires: Wall(NOW.0 + 60_000) }
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let (signer, verifier) = (Signer::of_seed("42"), Verifier::of_seed("42"));
        let token = signer.sign(claims(77_669_839_702_851_584));
        assert_eq!(token.len(), 110);
        for _ in 0..3 {
            assert_eq!(verifier.verify(&token, NOW), Ok(claims(77_669_839_702_851_584)));
        }
        assert_eq!(verifier.checks(), 1, "verified once, remembered after");
        let late = Wall(NOW.0 + 60_000);
        assert_eq!(verifier.verify(&token, late), Err(TokenError::Expired), "though remembered");
    }

    #[test]
    fn a_changed_letter_anywhere_and_another_runs_key_are_refused() {
        let verifier = Verifier::of_seed("42");
        let token = Signer::of_seed("42").sign(claims(7));
        for at in 0..token.len() {
            let mut letters = token.clone().into_bytes();
            letters[at] = if letters[at] == b'Q' { b'g' } else { b'Q' };
            let changed = String::from_utf8(letters).unwrap();
            assert!(verifier.verify(&changed, NOW).is_err(), "letter {at}");
        }
        let other = Signer::of_seed("43").sign(claims(7));
        assert_eq!(verifier.verify(&other, NOW), Err(TokenError::Forged));
        let longer = format!("{token}A");
        for wrong in ["", "Bearer", "ä", &token[..109], &longer] {
            assert_eq!(verifier.verify(wrong, NOW), Err(TokenError::Malformed), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_comes_from_the_issuer_is_not_checked_and_expires_like_any_other() {
        let (signer, verifier) = (Signer::of_seed("42"), Verifier::of_seed("42"));
        let token = signer.sign(claims(7));
        verifier.trust(&token);
        assert_eq!(verifier.verify(&token, NOW), Ok(claims(7)));
        assert_eq!(verifier.verify(&token, Wall(NOW.0 + 60_000)), Err(TokenError::Expired));
        assert_eq!(verifier.checks(), 0);
        verifier.trust("no token");
        assert_eq!(verifier.verify("no token", NOW), Err(TokenError::Malformed));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_recent_use_counts() {
        let verifier = Verifier::of_seed("42");
        let token = Signer::of_seed("42").sign(claims(7));
        verifier.verify(&token, NOW).unwrap();
        let fill = |from: usize| {
            let mut remembered = verifier.remembered.borrow_mut();
            for n in from..from + REMEMBERED - 1 {
                remembered.young.insert(n.to_string().into_bytes().into(), claims(n as u64));
            }
        };
        fill(0);
        let second = Signer::of_seed("42").sign(claims(8));
        verifier.verify(&second, NOW).unwrap();
        assert_eq!(verifier.remembered.borrow().young.len(), 1, "the first are old now");
        verifier.verify(&token, NOW).unwrap();
        assert_eq!(verifier.checks(), 2, "an old one needs no new check");
        let remembered = verifier.remembered.borrow();
        assert!(remembered.young.contains_key(token.as_bytes()), "and is young again");
        assert!(remembered.young.len() + remembered.old.len() <= 2 * REMEMBERED);
    }
}
