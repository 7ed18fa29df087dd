"""A labelled sample: columns as databases and APIs have them, what they hold, and invented values."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from stdnum import luhn
from stdnum.br import cnpj, cpf

from icetap.records.personal.names import Kind

ROWS = 60


@dataclass(frozen=True)
class Labelled:
    """One column and the truth about it."""

    stream: str
    name: str
    type_name: str
    kind: Kind | set[Kind] | None
    values: list = field(default_factory=list, repr=False)

    def __str__(self):
        return f"{self.stream}.{self.name}"

    @property
    def kinds(self):
        """What a finding may say: one kind, or one of those that a list's label stands for."""
        return self.kind if isinstance(self.kind, set) else {self.kind}


RNG = random.Random(20261121)
FIRST = ["Ana", "João", "Maria", "José", "Li", "Priya", "Olga", "Tom", "Zoë", "Ahmed"]
LAST = ["Silva", "Souza", "Müller", "Smith", "García", "Ivanova", "Kim", "Nguyen", "O'Neil"]
IBANS = [
    "GB82 WEST 1234 5698 7654 32",
    "DE89370400440532013000",
    "FR1420041010050500013M02606",
    "BR1800360305000010009795493C1",
    "NL91ABNA0417164300",
]


def digits(count):
    return "".join(RNG.choices("0123456789", k=count))


def email():
    return f"{RNG.choice(FIRST).lower()}.{digits(2)}@{RNG.choice(['example.com', 'mail.example.org', 'empresa.com.br'])}"


def cpf_digits():
    body = digits(9)
    return body + cpf._calc_check_digits(body)


def cnpj_digits():
    body = digits(8) + "0001"
    return body + cnpj.calc_check_digits(body)


def card():
    body = RNG.choice(["4", "51", "55", "2221"]) + digits(14)
    body = body[:15]
    return body + luhn.calc_check_digit(body)


def brazilian_phone():
    return RNG.choice(["(11) 9{}-{}", "+55 21 9{}-{}", "11 9{}-{}"]).format(
        RNG.randrange(6000, 9999), digits(4)
    )


def international_phone():
    return RNG.choice(["+1 212-555-{:04}", "+44 20 7946 0{:03}", "+49 30 9018{:04}"]).format(
        RNG.randrange(1000)
    )


def mobile_digits():
    return f"11{RNG.choice('9')}{RNG.randrange(60000000, 99999999)}"


def address():
    return f"{RNG.randrange(1, 900)} {RNG.choice(['Main St', 'Rua Augusta', 'Av. Paulista', 'High Street'])}"


def ipv4():
    return f"{RNG.randrange(32, 223)}.{RNG.randrange(256)}.{RNG.randrange(256)}.{RNG.randrange(1, 255)}"


def person():
    return f"{RNG.choice(FIRST)} {RNG.choice(LAST)}"


def made(make, *, nulls=0.1):
    return [None if RNG.random() < nulls else make() for _ in range(ROWS)]


def many(stream, names, kind, make, type_name="string"):
    return [Labelled(stream, name, type_name, kind, made(make)) for name in names.split()]


def word(*words):
    return lambda: RNG.choice(words)


def instant():
    return f"2024-{RNG.randrange(1, 13):02}-{RNG.randrange(1, 29):02}T10:00:00Z"


PERSONAL = [
    *many(
        "customers",
        "email Email e_mail customerEmail contact_email billing_email email_address correo",
        Kind.EMAIL,
        email,
    ),
    *many("events", "actor recipient login user sender", Kind.EMAIL, email),
    *many(
        "leads",
        "phone phone_number mobile telefone celular homePhone fax whatsapp",
        Kind.PHONE,
        brazilian_phone,
    ),
    *many("orders", "contact shipping_contact", Kind.PHONE, international_phone),
    *many("orders", "contato", Kind.PHONE, mobile_digits),
    *many("payments", "card_number pan numero_cartao credit_card cc_number", Kind.CARD, card),
    *many(
        "payments",
        "reference raw_value",
        Kind.CARD,
        lambda: " ".join([(c := card())[:4], c[4:8], c[8:12], c[12:]]),
    ),
    *many("clientes", "cpf CPF nr_cpf documento doc", Kind.CPF, lambda: cpf.format(cpf_digits())),
    *many("pedidos", "cliente_documento pagador", Kind.CPF, cpf_digits),
    *many("empresas", "cnpj num_cnpj documento", Kind.CNPJ, lambda: cnpj.format(cnpj_digits())),
    *many("notas", "emitente tomador", Kind.CNPJ, cnpj_digits),
    *many("accounts", "iban IBAN account_iban payee", Kind.IBAN, word(*IBANS)),
    *many("requests", "ip ip_address client_ip remoteAddr source", Kind.IP, ipv4),
    *many("logins", "origin", Kind.IP, lambda: f"2001:db8:{digits(3)}::{digits(2)}"),
    *many(
        "customers",
        "first_name last_name fullName surname middle_name nome_completo sobrenome",
        Kind.PERSON,
        person,
    ),
    *many("users", "name display_name username", Kind.PERSON, person),
    *many("clientes", "nome", Kind.PERSON, person),
    *many("cards", "cardholder_name holder_name", Kind.PERSON, person),
    *many("patients", "birth_date dob data_nascimento birthday", Kind.BIRTH, instant, "date32[day]"),
    *many("patients", "date_of_birth", Kind.BIRTH, instant),
    *many(
        "stores",
        "street address_line1 shipping_address postal_code zip cep logradouro",
        Kind.ADDRESS,
        address,
    ),
    *many("people", "address.street address.zip", Kind.ADDRESS, address),
    *many("employees", "ssn passport_number national_id tax_id rg", Kind.DOCUMENT, lambda: digits(9)),
    *many("orders", "items[].buyer_email contact.email", Kind.EMAIL, email),
    Labelled("customers", "email", "string", Kind.EMAIL),  # no rows yet
    Labelled("customers", "cpf", "int64", Kind.CPF),
    Labelled("leads", "phones[]", "string", Kind.PHONE, made(brazilian_phone)),
    # Nothing says what these are, and a person would see it: the share that is not found.
    *many("support", "note", Kind.PERSON, person),
    *many("archive", "col_17", Kind.ADDRESS, address),
]

ORDINARY = [
    *many(
        "orders",
        "id order_id customer_id sku product_code barcode tracking_number invoice_number",
        None,
        lambda: digits(10),
    ),
    *many("orders", "quantity amount total_cents price_id", None, lambda: RNG.randrange(10**6), "int64"),
    *many(
        "products",
        "name title description nome category brand label",
        None,
        word("Chair", "Red lamp", "Mesa de jantar"),
    ),
    *many("products", "ean upc gtin", None, lambda: digits(13)),
    *many("stripe_charges", "id balance_transaction payment_intent", None, lambda: f"ch_{digits(14)}"),
    *many(
        "devices",
        "serial imei_checked firmware_version os_version app_version",
        None,
        lambda: f"{RNG.randrange(9)}.{RNG.randrange(20)}.{RNG.randrange(9)}.{RNG.randrange(30)}",
    ),
    *many("events", "trace_id session_id request_id span", None, lambda: f"{RNG.getrandbits(64):016x}"),
    *many("events", "uuid", None, lambda: f"{RNG.getrandbits(128):032x}"),
    *many(
        "users",
        "email_verified phone_verified is_email_valid has_phone email_opt_in",
        None,
        word(True, False),
        "bool",
    ),
    *many(
        "users",
        "email_sent_at phone_verified_at last_email_on created_at updated_at",
        None,
        instant,
        "timestamp[us, tz=UTC]",
    ),
    *many("users", "created_at_text email_sent_at", None, instant),
    *many(
        "users",
        "email_count phone_type email_status ip_version email_domain phone_country",
        None,
        word("mobile", "active", "4"),
    ),
    *many(
        "mailings",
        "email_template email_subject email_body email_campaign",
        None,
        word("welcome", "october", "Hello!"),
    ),
    *many(
        "stores",
        "city state country region timezone currency language",
        None,
        word("São Paulo", "BR", "UTC", "EUR"),
    ),
    *many("stores", "latitude longitude rating", None, lambda: RNG.random() * 90, "double"),
    *many(
        "repos",
        "full_path file_name hostname table_name column_name",
        None,
        word("a/b", "main.py", "db-1", "orders"),
    ),
    *many("repos", "name owner_type branch", None, word("icetap", "Organization", "main")),
    *many("files", "name", None, word("a.csv", "b.parquet", "c.json")),
    *many("warehouse", "bin_number lot batch pallet", None, lambda: digits(16)),
    *many("warehouse", "code16", None, lambda: "4" + digits(15)),
    *many("warehouse", "code11 counter_text", None, lambda: digits(11)),
    *many("warehouse", "code14", None, lambda: digits(14)),
    *many("calls", "duration ring_seconds", None, lambda: digits(3)),
    *many("metrics", "tooltip tipo description_short cellar", None, word("x", "y", "z")),
    *many("prices", "discount_code coupon", None, lambda: f"SAVE{digits(3)}"),
    *many("issues", "summary priority labels[]", None, word("Bug in login", "Write docs", "High")),
    *many("social", "handle_count mentions", None, lambda: digits(2)),
    *many("urls", "url referrer", None, lambda: f"https://example.com/a/{digits(5)}"),
    *many("gift_cards", "card_type card_brand card_expiry", None, word("visa", "debit", "12/29")),
    *many("times", "opening_hours shift", None, word("08:00-12:00", "13:00-18:00", "22:00-06:00")),
    *many("dates", "day period", None, word("2024-01-02", "2023-11-30", "2025-07-04")),
    *many("ranges", "isbn", None, word("978-3-16-148410-0", "978-0-306-40615-7", "978-1-4028-9462-6")),
]
