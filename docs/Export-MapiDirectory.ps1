<#
.SYNOPSIS
Writes mailboxes.csv, databases.csv and servers.csv for mapi-directory.

.DESCRIPTION
Run it in the Exchange Management Shell of Exchange 2013 or later, as a member
of "View-Only Organization Management".  It reads and changes nothing.  Copy
the three files to the proxy and import them there:

    mapi-directory -d /var/lib/mapi-directory import --replace \
        --mailboxes mailboxes.csv --databases databases.csv \
        --servers servers.csv

Every kind of mailbox is written that this version of Exchange knows: users,
shared, rooms, arbitration, public folders, audit logs, monitoring.

.PARAMETER OutputFolder
Where the files go (default: the current folder).  They are complete or not
there: each is written beside its place and renamed at the end.

.PARAMETER SkipAddresses
Leave out the servers' IP addresses, which are looked up in DNS.

.PARAMETER SkipMapiHttp
Leave out MapiHttpEnabled, which needs a second query for every mailbox; it is
shown by "mapi-directory lookup" and changes nothing else.

.EXAMPLE
.\Export-MapiDirectory.ps1 -OutputFolder C:\Export
#>

[CmdletBinding()]
param(
    [string] $OutputFolder = '.',
    [switch] $SkipAddresses,
    [switch] $SkipMapiHttp
)

$ErrorActionPreference = 'Stop'

if (-not (Get-Command Get-Mailbox -ErrorAction SilentlyContinue)) {
    throw 'Run this script in the Exchange Management Shell.'
}

Set-ADServerSettings -ViewEntireForest $true

if (-not (Test-Path -LiteralPath $OutputFolder)) {
    New-Item -ItemType Directory -Path $OutputFolder | Out-Null
}

$folder = (Resolve-Path -LiteralPath $OutputFolder).ProviderPath


# The part of a name behind the last \ or /: "corp.example/DB01" is DB01

function Get-LastPart([string] $text) {
    return ($text -split '[\\/]')[-1]
}


# NetBIOS names of the domains, by their distinguished name

function Get-DomainNames {
    $names = @{}

    try {
        $root = [ADSI] 'LDAP://RootDSE'
        $base = [ADSI] "LDAP://CN=Partitions,$($root.configurationNamingContext)"
        $searcher = New-Object System.DirectoryServices.DirectorySearcher($base)
        $searcher.Filter = '(&(objectCategory=crossRef)(nETBIOSName=*))'

        foreach ($found in $searcher.FindAll()) {
            $dn = "$($found.Properties['ncname'][0])".ToLowerInvariant()
            $names[$dn] = "$($found.Properties['netbiosname'][0])"
        }
    } catch {
        Write-Warning "The domains' names cannot be read, accounts are written without: $_"
    }

    return $names
}


$domains = Get-DomainNames


# DOMAIN\user if the domain is known, else user; a linked mailbox is used by
# the account that it is linked to

function Get-Account($mailbox) {
    $linked = "$($mailbox.LinkedMasterAccount)"

    if ($linked -like '*\*' -and $linked -notlike 'NT AUTHORITY\*') {
        return $linked
    }

    $dn = "$($mailbox.DistinguishedName)".ToLowerInvariant()
    $at = $dn.IndexOf(',dc=')

    if ($at -ge 0 -and $domains.ContainsKey($dn.Substring($at + 1))) {
        return $domains[$dn.Substring($at + 1)] + '\' + $mailbox.SamAccountName
    }

    return "$($mailbox.SamAccountName)"
}


function Get-Addresses([string] $name) {
    if ($SkipAddresses -or -not $name) {
        return ''
    }

    try {
        $all = [System.Net.Dns]::GetHostAddresses($name) |
            Where-Object { -not $_.IsIPv6LinkLocal } |
            ForEach-Object { $_.IPAddressToString }
        return ($all -join ';')
    } catch {
        Write-Warning "$name has no address in DNS: $_"
        return ''
    }
}


# --- servers

Write-Host 'Servers ...'

Get-ExchangeServer |
    Where-Object { "$($_.ServerRole)" -match 'Mailbox' } |
    Select-Object Name,
        @{ n = 'Fqdn'; e = { "$($_.Fqdn)" } },
        @{ n = 'Addresses'; e = { Get-Addresses "$($_.Fqdn)" } },
        @{ n = 'AdminDisplayVersion'; e = { "$($_.AdminDisplayVersion)" } } |
    Export-Csv -LiteralPath "$folder\servers.csv.new" -NoTypeInformation -Encoding UTF8


# --- databases

Write-Host 'Databases ...'

Get-MailboxDatabase -Status |
    Select-Object Name,
        @{ n = 'Guid'; e = { "$($_.Guid)" } },
        @{ n = 'Server'; e = { Get-LastPart "$($_.Server)" } },
        @{ n = 'MountedOnServer'; e = { "$($_.MountedOnServer)" } },
        @{ n = 'ActivationPreference'; e = { $_.ActivationPreference -join ' ' } } |
    Export-Csv -LiteralPath "$folder\databases.csv.new" -NoTypeInformation -Encoding UTF8


# --- mailboxes

$mapiHttp = @{}

if (-not $SkipMapiHttp) {
    Write-Host 'MapiHttpEnabled ...'

    Get-CASMailbox -ResultSize Unlimited -WarningAction SilentlyContinue |
        ForEach-Object { $mapiHttp["$($_.Guid)"] = "$($_.MapiHttpEnabled)" }
}


$known = (Get-Command Get-Mailbox).Parameters
$kinds = @('')

foreach ($kind in 'Arbitration', 'PublicFolder', 'AuditLog', 'AuxAuditLog', 'Monitoring') {
    if ($known.ContainsKey($kind)) {
        $kinds += $kind
    }
}


function Get-EveryMailbox {
    $seen = New-Object 'System.Collections.Generic.HashSet[string]'

    foreach ($kind in $kinds) {
        Write-Host "Mailboxes $kind ..."

        $arguments = @{ ResultSize = 'Unlimited'; WarningAction = 'SilentlyContinue' }

        if ($kind) {
            $arguments[$kind] = $true
        }

        Get-Mailbox @arguments | Where-Object {
            "$($_.ExchangeGuid)" -ne '00000000-0000-0000-0000-000000000000' -and
            "$($_.Database)" -and
            $seen.Add("$($_.ExchangeGuid)")
        }
    }
}


Get-EveryMailbox |
    Select-Object @{ n = 'ExchangeGuid'; e = { "$($_.ExchangeGuid)" } },
        @{ n = 'PrimarySmtpAddress'; e = { "$($_.PrimarySmtpAddress)" } },
        @{ n = 'Database'; e = { Get-LastPart "$($_.Database)" } },
        @{ n = 'EmailAddresses'; e = { $_.EmailAddresses -join ';' } },
        @{ n = 'UserPrincipalName'; e = { "$($_.UserPrincipalName)" } },
        @{ n = 'SamAccountName'; e = { Get-Account $_ } },
        @{ n = 'ArchiveGuid'; e = { "$($_.ArchiveGuid)" } },
        @{ n = 'ArchiveDatabase'; e = { Get-LastPart "$($_.ArchiveDatabase)" } },
        @{ n = 'MapiHttpEnabled'; e = { $mapiHttp["$($_.Guid)"] } } |
    Export-Csv -LiteralPath "$folder\mailboxes.csv.new" -NoTypeInformation -Encoding UTF8


foreach ($name in 'servers', 'databases', 'mailboxes') {
    Move-Item -LiteralPath "$folder\$name.csv.new" -Destination "$folder\$name.csv" -Force
}

Write-Host "Done: servers.csv, databases.csv and mailboxes.csv in $folder"
