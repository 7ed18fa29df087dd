"""What a column's name says about its content, in English, Portuguese and Spanish."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from icetap.records.names import snake_case


class Kind(StrEnum):
    """A kind of personal data, with the words that people read."""

    EMAIL = "e-mail address"
    PHONE = "phone number"
    CARD = "payment card number"
    CPF = "Brazilian CPF number"
    CNPJ = "Brazilian CNPJ number"
    IBAN = "IBAN"
    IP = "IP address"
    PERSON = "person's name"
    BIRTH = "date of birth"
    ADDRESS = "postal address"
    DOCUMENT = "number of an identity document"


@dataclass(frozen=True, slots=True)
class _Words:
    kind: Kind
    names: frozenset[str]
    """Runs of a name's words that say it: `card_number` is in `main_card_number`."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _words(kind: Kind, names: str) -> _Words:
    return _Words(kind, _set(names))


_SAID_BY = (
    _words(
        Kind.EMAIL,
        "email emails e_mail e_mails mail_address email_address correo correo_electronico emailaddress",
    ),
    _words(
        Kind.PHONE,
        "phone phones phone_number phonenumber telephone tel mobile mobile_number cell cellphone cell_phone fax msisdn "
        "whatsapp telefone telefones celular fone telefono movil ddd_telefone",
    ),
    _words(
        Kind.CARD,
        "card_number cardnumber credit_card creditcard cc_number ccnumber debit_card pan cartao numero_cartao "
        "cartao_credito numero_do_cartao tarjeta num_cartao card_no",
    ),
    _words(Kind.CPF, "cpf cpfs cpf_cnpj num_cpf nr_cpf"),
    _words(Kind.CNPJ, "cnpj cnpjs num_cnpj nr_cnpj"),
    _words(Kind.IBAN, "iban ibans bank_account account_iban conta_bancaria bank_account_number"),
    _words(
        Kind.IP,
        "ip ip_address ipaddress ip_addr client_ip remote_addr ipv4 ipv6 remote_ip user_ip endereco_ip",
    ),
    _words(
        Kind.PERSON,
        "first_name firstname last_name lastname middle_name surname family_name given_name full_name fullname maiden_name "
        "contact_name customer_name client_name person_name patient_name employee_name holder_name cardholder "
        "cardholder_name billing_name shipping_name recipient_name user_full_name mother_name father_name nome_mae "
        "nome_pai nome_completo sobrenome nome_cliente nome_contato nome_titular nome_do_cliente apellido apellidos "
        "primeiro_nome ultimo_nome nome_da_mae nome_do_pai guest_name student_name doctor_name",
    ),
    _words(
        Kind.BIRTH,
        "birth_date birthdate birthday date_of_birth dob data_nascimento dt_nascimento nascimento born born_on "
        "fecha_nacimiento data_de_nascimento birth_day",
    ),
    _words(
        Kind.ADDRESS,
        "street street_address address_line address_line1 address_line2 address1 address2 line1 line2 home_address "
        "billing_address shipping_address delivery_address postal_code postcode zip zip_code zipcode cep logradouro endereco "
        "direccion rua house_number full_address residential_address",
    ),
    _words(
        Kind.DOCUMENT,
        "ssn social_security social_security_number passport passport_number passport_no national_id tax_id taxid "
        "driver_license drivers_license license_number rg cnh dni nif nie curp vat_id titulo_eleitor pis pis_pasep "
        "id_card_number identity_number national_insurance_number",
    ),
)

_PEOPLE = _set(
    "user users customer customers client clients person persons people contact contacts employee employees patient "
    "patients lead leads member members guest guests driver drivers student students cliente clientes usuario usuarios "
    "pessoa pessoas contato contatos funcionario funcionarios paciente pacientes aluno alunos subscriber subscribers "
    "buyer buyers attendee attendees recipient recipients"
)
_NAME_OF_ONE = frozenset(
    {"name", "nome", "nombre", "names", "username", "user_name", "display_name", "nickname"}
)

# What stands beside such a word when the column says something about it, and does not hold it.
_ABOUT = _set(
    "is has was count counts total sent opened clicked verified verification valid invalid validated confirmed status state type "
    "types kind template templates subject body opt optin optout enabled disabled domain provider bounce bounced "
    "campaign campaigns flag at on by version hash hashed masked length format model brand os price cost fee rate quota "
    "plan unsubscribed notifications notification preference preferences consent server host label color colour "
    "area region country carrier required allowed limit limits date datetime timestamp qtd quantidade id ids "
    "expiry expiration exp attempts score reason last4 code_prefix prefix class category"
)
_MAY_HAVE_AT = frozenset({Kind.BIRTH})


def kind_by_name(name: str, *, stream: str = "") -> Kind | None:
    """Return what a column's name says that it holds, or None.

    A bare `name` is a person's where the stream is of people.
    """
    words = snake_case(name.replace("[]", "").rpartition(".")[2] or name).split("_")
    runs = {
        "_".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)
    }
    for said in _SAID_BY:
        found = said.names & runs
        if found:
            others = set(words) - {word for run in found for word in run.split("_")}
            return None if others & _ABOUT and said.kind not in _MAY_HAVE_AT else said.kind
    if "_".join(words) in _NAME_OF_ONE and _PEOPLE & set(snake_case(stream).split("_")):
        return Kind.PERSON
    return None
