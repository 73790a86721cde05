"""Command lines with a secret, as lists of words, and such that have none."""

import json
import shlex
from pathlib import PurePosixPath
from subprocess import CalledProcessError

from support.secret_places import WORD

COMMAND_LINES = [
    line.replace("WORD", WORD).split()
    for line in (
        "sshpass -p WORD ssh h", "mysql -uada -pWORD shop", "mysqldump -u ada -pWORD shop", "zip -P WORD a.zip b", "unzip -P WORD a.zip", "7z x -pWORD a.7z",
        "redis-cli -h h -a WORD ping", "redis-cli config set requirepass WORD", "redis-server --requirepass WORD", "docker login -u ada -p WORD r.io",
        "docker run -d mysql mysql -uada -pWORD", "sudo -u ada mysql -pWORD shop", "ldapsearch -D cn=a -w WORD", "http -a ada:WORD x.io", "openssl enc -k WORD",
        "openssl enc -pass pass:WORD", "az login -u ada -p WORD", "curl -u ada:WORD https://x", "curl -uada:WORD https://x", "curl --user ada:WORD https://x",
        "setx API_KEY WORD", "smbclient //h/s -U ada%WORD", "mongo -u ada -p WORD", "mongodump -u ada -p WORD", "sqlcmd -U ada -P WORD", "bcp t out f -U ada -P WORD",
        "keytool -list -storepass WORD", "jarsigner -keypass WORD", "htpasswd -b users ada WORD", "mosquitto_pub -u ada -P WORD -t x", "snmpget -v3 -A WORD h",
        "snmpwalk -c WORD h", "x11vnc -passwd WORD", "xfreerdp /u:ada /p:WORD /v:h", "plink -pw WORD h", "nmcli dev wifi connect x password WORD", "sqlplus ada/WORD@db",
        "net use x: //server/share WORD /user:ada", "vault login WORD", "wget --http-password=WORD https://x", "gpg --passphrase WORD -d f", "svn co --password WORD u",
        "rclone copy --sftp-pass WORD a b", "/usr/bin/zip -P WORD a.zip", "./mysql -pWORD shop", "mysql.exe -uada -pWORD shop",
    )
]  # fmt: skip

HARMLESS_COMMANDS = [
    line.split()
    for line in (
        "zip -r archive2026.zip folder2026", "unzip -p archive2026.zip", "docker run --name mongo -p 27017:27017 mongo", "docker run -p 127.0.0.1:8080:80 nginx1",
        "docker run --name mysql -e A=b1 mysql", "mysql -p shop2026", "mysql -u root -h db2026 shop", "redis-cli -h host2026 ping", "curl -s -u https://example.com/x1",
        "openssl x509 -in cert2026.pem -noout", "openssl rand -hex 32", "http GET example2026.com", "az login --identity", "7z x archive2026.7z", "net start service2026",
        "vault status", "vault kv get path", "nmcli dev wifi list", "sqlplus /nolog", "setx PATH folder2026", "htpasswd -n ada2026", "keytool -list -keystore file2026",
        "mongosh mongodb://host2026/shop", "snmpwalk -v2c host2026", "bcp table2026 out file2026 -T", "plink -ssh host2026", "mosquitto_sub -t topic2026",
        "ldapsearch -x -b dc=example2026", "sshpass -f file2026 ssh host", "curl -X POST https://x/items2026", "zip city street2026", "docker login registry2026.io",
    )
]  # fmt: skip


def forms(words: list[str]) -> dict[str, object]:
    """Return a command line in every form in which programs keep and tell one."""
    listed = json.dumps(words)
    return {
        "list": words,
        "tuple": tuple(words),
        "record": {"event": "run", "args": [{"argv": words}]},
        "program as a path": [PurePosixPath(words[0]), *words[1:]],
        "text": " ".join(words),
        "quoted": shlex.join(words),
        "repr": repr(words),
        "repr of a tuple": repr(tuple(words)),
        "repr with a path": repr([PurePosixPath(words[0]), *words[1:]]),
        "json": listed,
        "json in json": json.dumps({"command": listed}),
        "json in lines": json.dumps({"command": words}, indent=2),
        "error": str(CalledProcessError(5, words)),
        "exception": CalledProcessError(5, words),
        "within a text": f"first\ncalls {words!r} again\nlast",
    }
