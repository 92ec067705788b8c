//! The rim of the server: who is answered, what is shown, how it starts and ends.
