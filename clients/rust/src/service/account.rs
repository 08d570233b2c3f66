//! The login: who is signed in on this client, and how that begins and ends. The client keeps the tokens, renews them
//! before they end, and connects with them.

use serde::Serialize;
use syncbridge_codec::message::Method;

use super::{
    call::{Call, read},
    handoff::{Moved, MovedText},
};
use crate::{
    client::Client,
    core::{Purpose, Tokens, User},
    error::Error,
};

/// See [`Client::account`].
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    pub(crate) client: &'a Client,
}

/// Who registers.
#[derive(Clone, Serialize)]
pub struct NewAccount {
    /// The e-mail address; case does not matter.
    pub email: String,
    /// 8 to 1,024 bytes.
    pub password: String,
    /// What to call them; without it, the address's beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount").field("email", &self.email).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Who signs in.
#[derive(Clone)]
pub struct Login {
    /// The e-mail address; case does not matter.
    pub email: String,
    /// The password.
    pub password: String,
    /// Each renewal brings another refresh token, and the use of an old one ends the login: a stolen token is noticed.
    /// The price: a connection that is lost in the moment of a renewal may end the login too.
    pub rotate: bool,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("email", &self.email).field("rotate", &self.rotate).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignIn<'a> {
    email: &'a str,
    password: &'a str,
    device_id: &'a str,
    rotate_refresh: bool,
}

impl Account<'_> {
    /// Makes an account and signs in with it. The device is not registered by that; [`Account::login`] does so.
    ///
    /// # Errors
    /// [`Error::Server`] (`already_exists`, `invalid_field`, `rate_limited`, `busy`), [`Error::Disconnected`].
    pub async fn register(&self, account: &NewAccount) -> Result<User, Error> {
        let call = Call::new(Method::Post, "/auth/register").purpose(Purpose::SignIn).json(account)?;
        Ok(call.read::<Tokens>(self.client).await?.user)
    }

    /// Signs in on this client's device. The device is registered by that, and an earlier login of it ends. When another
    /// user was signed in here, the sessions of that one end, with all that was not sent.
    ///
    /// # Errors
    /// [`Error::Server`] (`invalid_credentials`, `rate_limited`, `busy`), [`Error::Disconnected`]. Who was signed in still
    /// is.
    pub async fn login(&self, login: &Login) -> Result<User, Error> {
        let Login { email, password, rotate } = login;
        let device = self.device();
        let body = SignIn { email, password, device_id: &device, rotate_refresh: *rotate };
        // A second login of the device replaces the first.
        let call = Call::new(Method::Post, "/auth/login").purpose(Purpose::SignIn).json(&body)?.repeatable();
        Ok(call.read::<Tokens>(self.client).await?.user)
    }

    /// Ends the login: its tokens are worth nothing and its connections closed when this returns. The client stays, for
    /// whoever signs in next; what was not sent of the same user's goes out then.
    ///
    /// # Errors
    /// [`Error::SignedOut`]: nobody is, with a refresh token. [`Error::Disconnected`]: the login goes on.
    pub async fn logout(&self) -> Result<(), Error> {
        let refresh = self.client.tokens().borrow().as_ref().map(|tokens| tokens.refresh.clone());
        let body = serde_json::json!({ "refreshToken": refresh.ok_or(Error::SignedOut)? });
        let call = Call::new(Method::Post, "/auth/logout").purpose(Purpose::SignOut).json(&body)?.repeatable();
        call.send(self.client).await.map(drop)
    }

    /// Who is signed in, as the server knows them.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::SignedOut`].
    pub async fn me(&self) -> Result<User, Error> {
        Call::new(Method::Get, "/auth/me").read(self.client).await
    }

    /// Changes the password. All logins of the user but this one have ended when this returns.
    ///
    /// # Errors
    /// [`Error::Server`] (`invalid_credentials`, `invalid_field`, `rate_limited`), [`Error::Disconnected`].
    pub async fn change_password(&self, current: &str, new: &str) -> Result<(), Error> {
        let body = serde_json::json!({ "currentPassword": current, "newPassword": new });
        Call::new(Method::Post, "/auth/password").json(&body)?.send(self.client).await.map(drop)
    }

    /// Takes over a session that another device offers ([`Handoff::offer`](super::Handoff::offer)): signs in as the user
    /// who offered it, on this client's device, and makes that the session's active device. Under the policy `ask` it
    /// waits for the one that is. `code`: the code in any writing, or the token.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `gone`, `handoff_declined`, `rate_limited`), [`Error::Disconnected`]. Who was signed
    /// in still is.
    pub async fn take_over(&self, code: &str) -> Result<Moved, Error> {
        let body = serde_json::json!({ "code": code, "deviceId": self.device() });
        let call = Call::new(Method::Post, "/handoff/complete").purpose(Purpose::SignIn).json(&body)?;
        read::<MovedText>(&call.send(self.client).await?)?.moved()
    }

    fn device(self) -> String {
        self.client.keep.shared.lock().core.config().device.to_string()
    }
}
