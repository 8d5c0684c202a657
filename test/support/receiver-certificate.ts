/** A self-signed certificate for `receiver.test`, made for these tests and trusted by nobody else; valid to 2126. */
export const receiverCertificate = `-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUDtWMmjgXmzpwxTA+oqweAxd4NUMwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNcmVjZWl2ZXIudGVzdDAgFw0yNjExMjMyMDQzMTdaGA8yMTI2
MTAzMDIwNDMxN1owGDEWMBQGA1UEAwwNcmVjZWl2ZXIudGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABF32oUe5QCxMVFzF8eL7w3ROQ4KdyPmiWZfwFmDKVnrt
4L8+WsSVft7RnlPwvA+G+BrYrEYpMnrzMa6jinDh39ijbTBrMB0GA1UdDgQWBBQi
1mfBLgz+dehzZe+j9Zd/CtG2gDAfBgNVHSMEGDAWgBQi1mfBLgz+dehzZe+j9Zd/
CtG2gDAPBgNVHRMBAf8EBTADAQH/MBgGA1UdEQQRMA+CDXJlY2VpdmVyLnRlc3Qw
CgYIKoZIzj0EAwIDSAAwRQIhAMIzpypg8idHT2RY2FlFaJS6hrFmFe2EVMjW3F/a
vG/SAiB5rQGQKk3huWLXabV1pwzpXWDbDpOrEIPeDt182sdClA==
-----END CERTIFICATE-----`;

/** The key to it. */
export const receiverKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwsrNOl71rSIwtGAc
nqpZEzWrO92W8/nkP08q4grvEYShRANCAARd9qFHuUAsTFRcxfHi+8N0TkOCncj5
olmX8BZgylZ67eC/PlrElX7e0Z5T8LwPhvga2KxGKTJ68zGuo4pw4d/Y
-----END PRIVATE KEY-----`;
